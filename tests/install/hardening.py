"""Reads the binaries that were built, as readelf shows them: what cmake/hardening.cmake promises, and what libdeploy says it needs.

Every property is looked at in the file, not in the flags: a flag that the compiler took and a later one undid shows here.
"""

import argparse
import json
import pathlib
import re
import struct
import subprocess

GLIBC = re.compile(r"(lib(c|m|dl|rt|pthread|util|python[\w.]*)\.so|ld-linux)")


class Binary:
    def __init__(self, readelf, path):
        self.path = path
        self._readelf = readelf
        self.headers = self._read("-hlW")
        self.dynamic = self._read("-dW")

    def _read(self, *options):
        return subprocess.run([self._readelf, *options, self.path], capture_output=True, text=True, check=True).stdout

    def needed(self):
        return set(re.findall(r"\(NEEDED\).*\[(.*)\]", self.dynamic))

    def marks(self):
        """Features that the linker or compiler noted: IBT, SHSTK."""
        found = re.search(r"x86 feature: (.*)", self._read("-nW"))
        return set(re.split(r", *", found.group(1).strip())) if found else set()

    def imports(self):
        return set(re.findall(r"UND (\w+)", self._read("--dyn-syms", "-W")))

    def problems(self, *, program):
        segments = re.findall(r"^  ([A-Z_]+) +(?:0x\w+ +){5}([RWE ]{3})", self.headers, re.MULTILINE)
        flags = dict(segments)
        if "GNU_RELRO" not in flags or "BIND_NOW" not in self.dynamic or not re.search(r"FLAGS_1.*NOW", self.dynamic):
            yield "no full RELRO"
        if flags.get("GNU_STACK", "E").strip() != "RW":
            yield "an executable stack"
        if any("W" in flag and "E" in flag for _, flag in segments):
            yield "a segment that is writable and executable"
        if "TEXTREL" in self.dynamic:
            yield "text relocations"
        # Of libdeploy's own the allocator uses one, which is in static TLS: they are mapped by us.
        foreign = re.findall(r"R_X86_64_TPOFF64 +[0-9a-f]+ +(?!deploy_)(\S+)", self._read("-rW"))
        if not program and foreign:
            yield f"initial-exec access to variables of other libraries, which may have no room in static TLS: {', '.join(foreign)}"
        if program and "DYN" not in self.headers.split("Type:")[1].splitlines()[0]:
            yield "not position-independent"

    def dlopen_notes(self):
        """Descriptions in section .note.dlopen: n_namesz, n_descsz, n_type, "FDO", JSON (the UAPI group's format)."""
        dump = self._read("-x", ".note.dlopen")
        data = bytes.fromhex("".join(re.findall(r"^  0x\w+ ((?:[0-9a-f]{2,8} ){1,4})", dump, re.MULTILINE)).replace(" ", ""))
        at = 0
        while at < len(data):
            name_size, size, kind = struct.unpack_from("<III", data, at)
            assert data[at + 12 : at + 12 + name_size] == b"FDO\0" and kind == 0x407C0C0A, data[at : at + 16]
            at += 12 + name_size
            yield from json.loads(data[at : at + size].rstrip(b"\0"))
            at += (size + 3) // 4 * 4


def check_hardening(options, complain):
    binaries = {path: Binary(options.readelf, path) for path in [*options.library, *options.program]}
    for path, binary in binaries.items():
        for problem in binary.problems(program=path in options.program):
            complain(path, problem)
        imports = binary.imports()
        if path not in options.small:
            if "__stack_chk_fail" not in imports:
                complain(path, "no stack protector")
            if options.fortified and not any(name.endswith("_chk") for name in imports):
                complain(path, "no function of _FORTIFY_SOURCE")
    if not options.cet:
        return
    objects = [path for path in options.objects.read_text().splitlines() if path]
    assert len(objects) > 60, objects
    for path in objects:
        if Binary(options.readelf, path).marks() != {"IBT", "SHSTK"}:
            complain(path, "an object without the marks of CET, so that the linker takes them from the library")
    if all(Binary(options.readelf, path).marks() == {"IBT", "SHSTK"} for path in options.start_file):
        for path, binary in binaries.items():
            if not {"IBT", "SHSTK"} <= binary.marks():
                complain(path, "no marks of CET, though the C library's start files have them")


def check_needs(options, complain):
    """libdeploy names all that its image needs, and the machine has it."""
    library = Binary(options.readelf, options.libdeploy)
    noted = {name for note in library.dlopen_notes() for name in note["soname"]}
    for part in options.image:
        missing = {name for name in Binary(options.readelf, part).needed() if not GLIBC.match(name)} - library.needed() - noted
        if missing - {"libdeploy_guest.so", "libmimalloc.so.2"}:
            complain(part, f"needs {sorted(missing)}, which {options.libdeploy} does not name")
    if "libexpat.so.1" not in library.needed() or "libz.so.1" not in library.needed():
        complain(options.libdeploy, "does not need libexpat and libz, without which no interpreter starts")
    if not {name for name in noted if name.startswith("libreadline")} or noted & library.needed():
        complain(
            options.libdeploy, f"notes {sorted(noted)}: expected what single modules need, and nothing that libdeploy needs itself"
        )
    listing = subprocess.run(["ldd", options.libdeploy], capture_output=True, text=True, check=True).stdout
    if "not found" in listing:
        complain(options.libdeploy, listing)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readelf", default="readelf")
    parser.add_argument("--libdeploy", required=True)
    parser.add_argument("--library", action="append", default=[])
    parser.add_argument("--program", action="append", default=[])
    parser.add_argument("--small", action="append", default=[], help="of these, one that has no array to protect")
    parser.add_argument("--image", action="append", default=[], help="a library that is in the image")
    parser.add_argument("--objects", type=pathlib.Path, required=True, help="a file with the path of an object file a line")
    parser.add_argument("--start-file", action="append", default=[], help="what the compiler links to every library")
    parser.add_argument("--fortified", action="store_true")
    parser.add_argument("--cet", action="store_true")
    options = parser.parse_args()
    complaints = []
    for check in (check_hardening, check_needs):
        check(options, lambda path, text: complaints.append(f"{path}: {text}"))
    print("\n".join(complaints) or "all as it should be")
    raise SystemExit(1 if complaints else 0)


main()
