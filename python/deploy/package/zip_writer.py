"""Writes the container: a zip of stored records, each aligned so that it can be used where it lies in the mapped file.

The layout is that of PyTorch's own writer: all records in one root folder, the local header's extra field pads the data to a
multiple of 64 bytes. Nothing is compressed and nothing is buffered, so a record of any size costs no memory; zip64 where a size or
an offset needs it.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import BinaryIO

ALIGNMENT = 64

_CHUNK = 1 << 20
_LIMIT = 0xFFFFFFFF
_UTF8_NAMES = 0x800
_MIDNIGHT_1980 = (0, 0x21)  # DOS time and date: the file depends on its content only
_PADDING_ID = 0x4246  # "FB", as PyTorch's writer has it
_ZIP64_ID = 1


class ZipWriter:
    """Records in the order in which they are written. `digests` is what was written: {name: (sha256 as hex, size)}."""

    def __init__(self, stream: BinaryIO, root: str) -> None:
        self._stream = stream
        self._root = root
        self._offset = 0
        self._entries: list[tuple[bytes, int, int, int]] = []  # name, crc, size, offset of the local header
        self.digests: dict[str, tuple[str, int]] = {}

    def write(self, name: str, data: bytes | bytearray | memoryview) -> int:
        """One record. `data` is not copied. Gives where it begins in the file."""
        if name in self.digests:
            raise ValueError(f"two records of the name {name!r}")
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        crc, digest = 0, hashlib.sha256()
        for start in range(0, len(view), _CHUNK):
            chunk = view[start : start + _CHUNK]
            crc = zlib.crc32(chunk, crc)
            digest.update(chunk)
        encoded = f"{self._root}/{name}".encode()
        self._entries.append((encoded, crc, len(view), self._offset))
        self._emit(self._local_header(encoded, crc, len(view)))
        start = self._offset
        self._emit(view)
        self.digests[name] = (digest.hexdigest(), len(view))
        return start

    def _emit(self, data: bytes | memoryview) -> None:
        self._stream.write(data)
        self._offset += len(data)

    def _local_header(self, name: bytes, crc: int, size: int) -> bytes:
        big = size >= _LIMIT
        extra = struct.pack("<HHQQ", _ZIP64_ID, 16, size, size) if big else b""
        unpadded = self._offset + 30 + len(name) + len(extra) + 4
        padding = -unpadded % ALIGNMENT
        extra += struct.pack("<HH", _PADDING_ID, padding) + bytes(padding)
        field = _LIMIT if big else size
        version = 45 if big else 20
        fixed = (b"PK\3\4", version, _UTF8_NAMES, 0, *_MIDNIGHT_1980, crc, field, field, len(name), len(extra))
        return struct.pack("<4sHHHHHIIIHH", *fixed) + name + extra

    @staticmethod
    def _directory_entry(name: bytes, crc: int, size: int, offset: int) -> bytes:
        numbers = [number for number in (size, size, offset) if number >= _LIMIT]
        extra = struct.pack(f"<HH{len(numbers)}Q", _ZIP64_ID, 8 * len(numbers), *numbers) if numbers else b""
        version = 45 if numbers else 20
        short = min(size, _LIMIT), min(size, _LIMIT), len(name), len(extra), 0, 0, 0, 0, min(offset, _LIMIT)
        fixed = (b"PK\1\2", version, version, _UTF8_NAMES, 0, *_MIDNIGHT_1980, crc, *short)
        return struct.pack("<4sHHHHHHIIIHHHHHII", *fixed) + name + extra

    def close(self) -> None:
        """Writes the directory; the stream stays open."""
        start = self._offset
        for entry in self._entries:
            self._emit(self._directory_entry(*entry))
        size, count = self._offset - start, len(self._entries)
        if start >= _LIMIT or size >= _LIMIT or count >= 0xFFFF:
            end = self._offset
            self._emit(struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start))
            self._emit(struct.pack("<4sIQI", b"PK\6\7", 0, end, 1))
        counts = min(count, 0xFFFF), min(count, 0xFFFF)
        self._emit(struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, *counts, min(size, _LIMIT), min(start, _LIMIT), 0))
