"""Packs the image's ELF files into one blob, each on a page boundary, so that the loader can map them out of
the one file that they end up in.

Writes the blob, and a table of {path, offset, size} that lib/interpreter/image.cpp includes.
"""

import argparse

PAGE = 65536  # the largest page size of the machines we know; a multiple of all the others


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("files", nargs="+", help="PATH_IN_IMAGE=FILE")
    options = parser.parse_args()

    rows = []
    with open(options.output, "wb") as blob:
        for argument in options.files:
            path, file = argument.split("=", 1)
            with open(file, "rb") as stream:
                content = stream.read()
            if content[:4] != b"\x7fELF":
                raise SystemExit(f"{file}: not an ELF file, so it cannot go into the image")
            blob.write(b"\0" * (-blob.tell() % PAGE))
            rows.append(f'{{"<image>/{path}", {blob.tell()}u, {len(content)}u}},\n')
            blob.write(content)
    with open(options.table, "w", encoding="utf-8") as stream:
        stream.writelines(sorted(rows))


if __name__ == "__main__":
    main()
