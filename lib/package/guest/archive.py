"""The records of one package file, inside an interpreter.

The host parses and checks the file (lib/package/archive.h) and hands over its descriptor and the table of records; nothing
is parsed here. Needs the standard library only.
"""

import mmap
import os
import zlib

# Kernel pages of the mapping are copied when they are written, so the mapping must not be charged for up front.
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)

# What PyTorch's writer aligns records to, and its kernels may count on.
ALIGNMENT = 64


class InvalidPackage(Exception):
    """A package whose content contradicts itself."""


def map_private(fd, size):
    """A writable copy-on-write mapping of the first `size` bytes: clean pages are the file's, written ones private."""
    flags = mmap.MAP_PRIVATE | _MAP_NORESERVE
    return mmap.mmap(fd, size, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)


class Archive:
    """`records` is a list of (name, offset, stored size, size, deflated). Weights are mapped from `weights_fd`, where that is
    another one. The descriptors stay the caller's."""

    def __init__(self, fd, path, records, weights_fd=None):
        self.path = path
        self.fd = self.weights_fd = os.dup(fd)
        if weights_fd is not None and weights_fd != fd:
            self.weights_fd = os.dup(weights_fd)
        self._records = {record[0]: record for record in records}

    def __del__(self):
        for fd in {getattr(self, "fd", -1), getattr(self, "weights_fd", -1)} - {-1}:
            os.close(fd)

    def names(self):
        return list(self._records)

    def __contains__(self, name):
        return name in self._records

    def read(self, name):
        """The record's bytes. FileNotFoundError; InvalidPackage where they cannot be had."""
        try:
            _, offset, stored_size, size, deflated = self._records[name]
        except KeyError:
            raise FileNotFoundError(f"no record {name!r} in package {self.path!r}") from None
        data = b""
        while len(data) < stored_size:
            part = os.pread(self.fd, stored_size - len(data), offset + len(data))
            if not part:
                raise InvalidPackage(f"package {self.path!r} was cut off while it was in use: record {name!r} is not all there")
            data = data + part if data else part
        return self._inflate(name, data, size) if deflated else data

    def _inflate(self, name, data, size):
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            inflated = stream.decompress(data, size + 1) if size else stream.decompress(data, 1)
        except zlib.error as error:
            raise InvalidPackage(f"package {self.path!r}: record {name!r} cannot be inflated: {error}") from None
        if len(inflated) != size:
            raise InvalidPackage(
                f"package {self.path!r}: record {name!r} inflates to {len(inflated)} bytes or more, expected {size}"
            )
        return inflated

    def mapping(self):
        """A new copy-on-write view of the records' bytes, for weights."""
        return Mapping(self)


class Mapping:
    """Writable memory of records. Writes are seen through this Mapping only."""

    def __init__(self, archive):
        self._archive = archive
        self._memory = memoryview(map_private(archive.weights_fd, os.fstat(archive.weights_fd).st_size))

    def view(self, name):
        """A memoryview of the record: pages of the file where it is stored and aligned, otherwise a copy."""
        record = self._archive._records.get(name)
        if record is None:
            raise InvalidPackage(f"package {self._archive.path!r} has no record {name!r}, which one of its pickles refers to")
        _, offset, stored_size, _, deflated = record
        if deflated or offset % ALIGNMENT:
            return memoryview(bytearray(self._archive.read(name)))
        if offset + stored_size > len(self._memory):
            raise InvalidPackage(
                f"package {self._archive.path!r} was cut off while it was in use: record {name!r} is not all there"
            )
        return self._memory[offset : offset + stored_size]
