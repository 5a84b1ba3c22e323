"""Joins compiled parts into the image's archive of the standard library, which guest/stdlib.cpp reads in place.

Layout, little-endian, offsets from the start of the file:
    header   8s magic "DPLYSTD1", u32 number of entries, u32 0
    entries  sorted by path; each eight u32: path offset and size, content offset, stored size and real size,
             code offset and size, 0
    data     the paths; contents (zlib); code objects (marshal), 16-byte aligned
The standard extension modules are entries too, without data, so that one listing shows all there is.
"""

import argparse
import marshal
import os
import struct
import zlib

MAGIC = b"DPLYSTD1"
HEADER = struct.Struct("<8sII")
ENTRY = struct.Struct("<8I")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", required=True)
    parser.add_argument("--extension", action="append", default=[], help="a standard extension module's file")
    parser.add_argument("parts", nargs="+")
    options = parser.parse_args()

    entries = {f"lib-dynload/{os.path.basename(file)}": (b"", b"") for file in options.extension}
    for part in options.parts:
        with open(part, "rb") as stream:
            for path, content, code in marshal.load(stream):
                if path in entries:
                    raise SystemExit(f"{path}: given twice")
                entries[path] = (content, code)

    data = bytearray()
    start = HEADER.size + ENTRY.size * len(entries)

    def add(piece, alignment=1):
        data.extend(b"\0" * (-(start + len(data)) % alignment))
        offset = start + len(data)
        data.extend(piece)
        return offset

    table = bytearray()
    for path, (content, code) in sorted(entries.items(), key=lambda item: item[0].encode()):
        name = path.encode()
        packed = zlib.compress(content, 9) if content else b""
        table += ENTRY.pack(add(name), len(name), add(packed), len(packed), len(content), add(code, 16), len(code), 0)

    with open(options.output, "wb") as stream:
        stream.write(HEADER.pack(MAGIC, len(entries), 0))
        stream.write(table)
        stream.write(data)


if __name__ == "__main__":
    main()
