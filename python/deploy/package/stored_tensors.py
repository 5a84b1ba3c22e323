"""The memory of tensors as records of a package, which is written before the example runs.

So the file has what save() was given, whatever the example does to it, and no copy is made in memory. Afterwards each storage is
compared with its record. One that differs gets a copy for what the result has of it, and its memory is put back out of the file.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

import torch

from deploy.package.zip_writer import ZipWriter

_LIBC = ctypes.CDLL(None)
_LIBC.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


class StoredTensors:
    """Storages by the numbers of their records."""

    def __init__(self) -> None:
        self._storages: dict[str, torch.UntypedStorage] = {}
        self._written: dict[str, tuple[int, int]] = {}  # where its bytes begin in the file, and how many there are
        self._known: set[int] = set()
        self._changed: set[str] = set()
        self._copies: dict[str, torch.UntypedStorage] = {}

    def add(self, key: str, storage: torch.UntypedStorage) -> None:
        self._storages[key] = storage

    def storage(self, key: str) -> torch.UntypedStorage:
        return self._storages[key]

    def has(self, storage: torch.UntypedStorage) -> bool:
        """Whether it is in the file."""
        return storage._cdata in self._known

    def write(self, writer: ZipWriter, progress: Callable[[int], None]) -> None:
        """Those that are not in the file yet, each from where it lies."""
        for key, storage in self._storages.items():
            if key not in self._written:
                host = storage if storage.device.type == "cpu" else storage.cpu()
                memory = (ctypes.c_char * host.nbytes()).from_address(host.data_ptr()) if host.nbytes() else b""
                self._written[key] = writer.write(f".data/{key}.storage", memoryview(memory)), host.nbytes()
                self._known.add(storage._cdata)
                progress(host.nbytes())

    def forget_new(self) -> None:
        """Those that are not in the file yet: their pickle was refused."""
        self._storages = {key: storage for key, storage in self._storages.items() if key in self._written}

    def find_changed(self, file: Callable[[], int]) -> None:
        """Compares each with its record. `file`: gives a descriptor of the file, in which all that was written is."""
        self._each(file, lambda key, storage, record: self._changed.add(key))

    def changed_copy(self, key: str) -> torch.UntypedStorage | None:
        """What a storage has now, if that is something else than its record."""
        if key not in self._changed:
            return None
        if key not in self._copies:
            self._copies[key] = self._storages[key].clone()
        return self._copies[key]

    def put_back(self, file: Callable[[], int]) -> None:
        """Every storage gets what its record has."""

        def restore(key: str, storage: torch.UntypedStorage, record: Any) -> None:
            if storage.nbytes() != len(record):
                storage.resize_(len(record))
            if len(record):
                storage.copy_(torch.frombuffer(record, dtype=torch.uint8).untyped_storage())

        self._each(file, restore)
        self._changed.clear()

    def _each(self, file: Callable[[], int], differs: Callable[[str, torch.UntypedStorage, Any], None]) -> None:
        if not self._written:
            return
        with mmap.mmap(file(), 0, access=mmap.ACCESS_COPY) as mapped:
            for key, (start, size) in self._written.items():
                record = memoryview(mapped)[start : start + size]
                try:
                    if not _is_equal(self._storages[key], record):
                        differs(key, self._storages[key], record)
                finally:
                    record.release()


def _is_equal(storage: torch.UntypedStorage, record: Any) -> bool:
    if storage.nbytes() != len(record):
        return False
    if not len(record):
        return True
    host = storage if storage.device.type == "cpu" else storage.cpu()
    address = ctypes.addressof(ctypes.c_char.from_buffer(record))
    return _LIBC.memcmp(host.data_ptr(), address, len(record)) == 0
