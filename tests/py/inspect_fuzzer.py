"""Inspects packages that were made to do harm: inspect_fuzzer.py FOLDER [--count 1500] [--seed 1] [--memory MiB].

Each input has its own seed, so a finding is repeated by `--first N --count 1`. Every one has to be answered, or refused in one
line, with nothing on the terminal that acts on it, within the limits of memory (RLIMIT_AS) and of operations. Prints a summary in
JSON; stops at the first input for which that does not hold, and leaves it as FOLDER/finding.pt.
"""

import argparse
import collections
import contextlib
import io
import json
import pathlib
import pickle
import pickletools
import random
import resource
import struct
import sys
import traceback
import zlib

import manifest_packages

from deploy.package import command, pickle_machine

NAMES = [
    "a",
    "weight",
    "_modules",
    "\x1b[31m",
    "\u202egpj",
    "\x85x",
    "\u2028",
    "\ud800",
    "\xe9",
    "x" * 400,
    "\n",
    "\u200b",
    "deploy",
]
GLOBALS = [
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "os system",
    "torch FloatStorage",
    "copyreg _reconstructor",
    "torch._tensor _rebuild_from_type_v2",
    "torch._utils _rebuild_parameter",
    "\x1b]0;x \x07",
]


def real_pickle():
    """A pickle as picklers write them, with a bit of everything."""

    class Holder:
        pass

    Holder.__qualname__, Holder.__module__ = "Holder", "pathlib"
    pathlib.Holder = Holder
    holder = Holder()
    holder._modules = {"layer": {"weight": (1, 2.5, None, True), "name": "layer"}}
    holder.numbers = {1, 2}, frozenset("ab"), bytearray(b"xyz"), b"x" * 300, 1 << 70, complex(1, 2), [[]]
    holder.again = [holder, holder._modules, collections.OrderedDict(a=1)]
    return [pickle.dumps(holder, protocol) for protocol in range(5)]


def tensor_pickle(shape):
    """A module with one tensor, as torch.package refers to it."""
    extents = b"".join(b"\x8b" + struct.pack("<i", 8) + extent.to_bytes(8, "little") for extent in shape)
    storage = b"(\x8c\x07storagectorch\nFloatStorage\n\x8c\x010\x8c\x03cpuK\x08tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00(" + extents + b"t(t\x89}tR"
    return b"\x80\x04cnet\nNet\n)\x81}\x8c\x08_modules}s\x8c\x0b_parameters}\x8c\x06weight" + tensor + b"ssb."


def argument(random, opcode):
    """Bytes that follow an opcode."""
    if opcode.arg is None:
        return b""
    kind = opcode.arg.name
    if kind.endswith(("nl", "nl_pair", "noescape")) or kind in ("unicodestringnl", "floatnl"):
        if kind == "stringnl_noescape_pair":
            return random.choice(GLOBALS).replace(" ", "\n").encode() + b"\n"
        return random.choice([b"1", b"01", b"'x'", b"9" * 30, b"1L", b"1.5", b"", b"\x1b[2J"]) + b"\n"
    if opcode.arg.n >= 0:
        if random.random() < 0.8:
            return random.choice([0, 0, 1, 2, 3, 250]).to_bytes(opcode.arg.n, "little")
        return random.randbytes(opcode.arg.n)
    width = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT8U: 8}.get(opcode.arg.n, 4)
    data = random.choice(NAMES).encode("utf-8", "surrogatepass")[: 255 if width == 1 else 2000]
    size = len(data) if random.random() < 0.97 else random.choice([0, 1 << 7, (1 << (8 * width - 1)) - 1, (1 << 8 * width) - 1])
    return size.to_bytes(width, "little") + data


SLICES = (pickletools.markobject, pickletools.stackslice)
OPCODES = [opcode for opcode in pickletools.opcodes if opcode.name not in ("STOP", "PROTO", "FRAME")]


class Program:
    """Random opcodes, most of which find what they need on the stack."""

    def __init__(self, random):
        self.random = random
        self.out = [b"\x80\x04"]
        self.sizes = [0]  # of the stack, from mark to mark
        self.memo = 0

    def fits(self, opcode):
        needs = [kind for kind in opcode.stack_before if kind not in SLICES]
        if pickletools.markobject in opcode.stack_before:
            below = [kind for kind in opcode.stack_before[: opcode.stack_before.index(pickletools.markobject)]]
            return len(self.sizes) > 1 and self.sizes[-2] >= len(below)
        return self.sizes[-1] >= len(needs) and (self.memo > 0 or "GET" not in opcode.name)

    def add(self, opcode):
        code = opcode.code.encode("latin-1")
        if opcode.name in ("BINGET", "BINPUT"):
            code += bytes([self.random.randrange(max(1, min(self.memo, 256)))])
        else:
            code += argument(self.random, opcode)
        self.memo += opcode.name in ("MEMOIZE", "BINPUT")
        self.out.append(code)
        if opcode.name == "MARK":
            self.sizes.append(0)
            return
        before = [kind for kind in opcode.stack_before if kind not in SLICES]
        if pickletools.markobject in opcode.stack_before and len(self.sizes) > 1:
            self.sizes.pop()
        self.sizes[-1] = max(0, self.sizes[-1] - len(before)) + len([k for k in opcode.stack_after if k not in SLICES])

    def grow(self, count):
        for _ in range(count):
            opcode = self.random.choice(OPCODES)
            while not self.fits(opcode) and self.random.random() < 0.995:
                opcode = self.random.choice(OPCODES)
            self.add(opcode)


REPEATED = [
    b"2\x86",
    b")\x85",
    b"]",
    b"2",
    b"\x94h\x00",
    b"(",
    b"}b",
    b")R",
    b"\x94",
    b"0",
    b"]2a",
    b"}2\x8c\x01a2s",
    b"ca\nb\n)\x81",
]


def random_program(random):
    program = Program(random)
    program.grow(random.choice([3, 10, 40, 200]))
    if random.random() < 0.1:  # what is cheap once is not when it is repeated
        program.out.append(random.choice(REPEATED) * random.choice([50, 3000, 100_000]))
    return b"".join(program.out) + b"."


def mutated(random, data):
    data = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 5, 20])):
        at = random.randrange(len(data) + 1)
        what = random.random()
        if what < 0.5 and at < len(data):
            data[at] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randrange(256), data[at] ^ 1 << random.randrange(8)])
        elif what < 0.65:
            data[at:at] = random.randbytes(random.choice([1, 2, 4]))
        elif what < 0.8:
            del data[at : at + random.choice([1, 2, 8, 100])]
        elif what < 0.9:
            data[at:at] = data[random.randrange(len(data) + 1) :][:50]
        elif len(data) >= 4:
            at = random.randrange(len(data) - 3)
            data[at : at + 4] = struct.pack("<I", random.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(data)]))
    return bytes(data)


def strange(random, depth=0):
    """A JSON value that nobody expects there."""
    choices = [None, True, 0, -1, 1 << 62, 1e300, "", random.choice(NAMES), [], {}, ["a", "b"], "9" * 5000]
    if depth < 3:
        choices += [[strange(random, depth + 1)], {random.choice(NAMES): strange(random, depth + 1)}]
    return random.choice(choices)


def mutated_manifest(random):
    callable_ = {"package": "model", "resource": "model.pkl", "type": "n.N", "method": "__call__",
                 "signature": [{"name": "x", "kind": "positional_only", "has_default": False}]}  # fmt: skip
    manifest = {
        "callables": [callable_],
        "interned": [{"distribution": "lib", "version": "1.0", "modules": ["lib"], "reason": "asked"}],
        "own_modules": ["net"],
        "externs": [{"module": "torch", "distribution": "torch", "version": "2", "stdlib": False}],
        "examples": [{"callable": 0, "inputs": ["e", "i.pkl"], "outputs": ["e", "o.pkl"], "seed": 0}],
    }
    for _ in range(random.choice([1, 1, 2, 4])):
        target = manifest
        while True:
            key = random.choice([*target] if isinstance(target, dict) else [*range(len(target))])
            inner = target[key]
            if isinstance(inner, (dict, list)) and inner and random.random() < 0.7:
                target = inner
                continue
            if random.random() < 0.3 and isinstance(target, dict):
                del target[key]
            else:
                target[key] = strange(random)
            break
        if not manifest:
            break
    return {key: value for key, value in manifest.items() if isinstance(key, str)}


def deflated_anew(random, path):
    """The same records in a zip file whose sizes, flags and checksums are not all true."""
    data = bytearray(path.read_bytes())
    end = data.rfind(b"PK\5\6")
    at = struct.unpack_from("<I", data, end + 16)[0]
    while data[at : at + 4] == b"PK\1\2":
        name, extra, comment = struct.unpack_from("<HHH", data, at + 28)
        if random.random() < 0.3:
            field = random.choice([8, 10, 16, 20, 24, 42])
            struct.pack_into("<H", data, at + field, random.choice([0, 1, 8, 0xFFFF, random.randrange(65536)]))
        at += 46 + name + extra + comment
    path.write_bytes(data)


def make(random, path, seeds):
    """Writes one input; the kind of it."""
    kind = random.choice(
        ["program", "program", "mutated pickle", "mutated pickle", "manifest", "file", "directory", "names", "tensor"]
    )
    records, options = {"model/model.pkl": random.choice(seeds)}, {"manifest": False}
    if kind == "program":
        records["model/model.pkl"] = random_program(random)
    elif kind == "mutated pickle":
        records["model/model.pkl"] = mutated(random, random.choice(seeds))
    elif kind == "tensor":
        shape = [random.choice([0, 1, 3, 1 << 20, (1 << 62) - 1, (1 << 64) - 1]) for _ in range(random.choice([0, 1, 2, 5, 100]))]
        records["model/model.pkl"] = mutated(random, tensor_pickle(shape)) if random.random() < 0.5 else tensor_pickle(shape)
    elif kind == "manifest":
        options = {"manifest": mutated_manifest(random)}
    elif kind == "names":
        for name in random.sample(NAMES, 3):
            with contextlib.suppress(UnicodeEncodeError):
                name.encode()
                records[f"{name}/{random.choice(NAMES[:3])}.pkl"] = random.choice(seeds)
        options["externs"] = [(name, None, None) for name in NAMES[:4]]
    manifest_packages.write(path, records, **options)
    if kind == "file":
        path.write_bytes(mutated(random, path.read_bytes()))
    elif kind == "directory":
        deflated_anew(random, path)
    return kind


def is_plain(text):
    """Whether nothing in it acts on a terminal."""
    return all(character.isprintable() or character == "\n" for character in text)


def check(path):
    """The command's exit status. AssertionError where it does not answer as it should."""
    machines = []
    run = pickle_machine.Machine.run

    def counted(self):
        machines.append(self._budget)
        return run(self)

    out, err = io.StringIO(), io.StringIO()
    pickle_machine.Machine.run = counted
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = command.main(["inspect", str(path)])
    finally:
        pickle_machine.Machine.run = run
    assert is_plain(out.getvalue()), out.getvalue()
    assert status in (0, 1), status
    assert len(machines) < 2 or machines[0] is machines[1], "a budget for each pickle"
    if status == 0:
        assert out.getvalue() and not err.getvalue()
    else:
        assert not out.getvalue()
        assert err.getvalue().startswith("deploy: ") and err.getvalue().count("\n") == 1, err.getvalue()
        assert is_plain(err.getvalue()), err.getvalue()
    return status


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", type=int, default=1500, help="MiB of address space")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (options.memory << 20, options.memory << 20))
    seeds = [*real_pickle(), tensor_pickle([2, 3])]
    path = options.folder / "finding.pt"
    answered, refused = collections.Counter(), collections.Counter()
    for number in range(options.first, options.first + options.count):
        kind = make(random.Random(zlib.crc32(f"{options.seed} {number}".encode())), path, seeds)
        try:
            (refused if check(path) else answered)[kind] += 1
        except BaseException:
            traceback.print_exc()
            sys.exit(f"input {number} ({kind}) of seed {options.seed}: see {path}")
    path.unlink()
    # Not ru_maxrss, which a process has from the one that started it.
    status = pathlib.Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) >> 10
    print(json.dumps({"answered": answered, "refused": refused, "peak_mib": peak}))


if __name__ == "__main__":
    main()
