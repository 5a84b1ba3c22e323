"""Copies of an object for other interpreters of the process.

dump() pickles it, with the memory of its tensors and buffers moved into one sealed memfd; load() in another interpreter
maps that copy-on-write. Classes and functions of packages are named by the package's number, because another interpreter
may know the same package under other module names.
"""

import fcntl
import io
import mmap
import os
import pickle
import sys
from types import FunctionType

from _deploy import package
from _deploy.archive import ALIGNMENT, map_private
from _deploy.unpickle import resolve, untyped_storage

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class _Pickler(pickle.Pickler):
    def __init__(self, stream):
        super().__init__(stream, protocol=5, buffer_callback=self._add_buffer)
        self._torch = sys.modules.get("torch")
        self._storages = {}  # StorageImpl -> index in blocks; the block keeps it alive
        self.blocks = []  # (offset, size, tensor or memoryview)
        self.buffers = []  # (offset, size, read-only)
        self.size = 0
        self.packages = set()

    def _add_block(self, size, content):
        offset = self.size
        self.size = (offset + size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        self.blocks.append((offset, size, content))
        return offset

    def _add_buffer(self, buffer):
        raw = buffer.raw()
        self.buffers.append((self._add_block(raw.nbytes, raw), raw.nbytes, raw.readonly))

    def persistent_id(self, obj):
        if isinstance(obj, (type, FunctionType)):
            return self._global(obj)
        if self._torch is None:
            return None
        if isinstance(obj, self._torch.storage.TypedStorage):
            return self._storage(obj._untyped_storage, obj.dtype)
        if isinstance(obj, self._torch.UntypedStorage):
            return self._storage(obj, None)
        return None

    def _global(self, obj):
        owner = package.owner_of(obj.__module__)
        if owner is None:
            return None
        name = owner.demangle(obj.__module__)
        try:
            found = resolve(owner.import_module(name), obj.__qualname__)
        except AttributeError:
            found = None
        if found is not obj:
            raise pickle.PicklingError(f"Can't pickle {obj!r}: it is not {name}.{obj.__qualname__} of its package")
        self.packages.add(owner.package_id)
        return "global", owner.package_id, name, obj.__qualname__

    def _storage(self, storage, dtype):
        torch = self._torch
        device = str(storage.device)
        if device == "meta":
            return "storage", -1, storage.nbytes(), dtype, device
        key = storage._cdata
        if key not in self._storages:
            content = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
            self._storages[key] = self._add_block(storage.nbytes(), content)
        return "storage", self._storages[key], storage.nbytes(), dtype, device


def _fill(fd, pickler):
    os.ftruncate(fd, pickler.size)
    memory = mmap.mmap(fd, pickler.size)
    view = memoryview(memory)
    for offset, size, content in pickler.blocks:
        if size == 0:
            continue
        target = view[offset : offset + size]
        if isinstance(content, memoryview):
            target[:] = content
        else:
            pickler._torch.frombuffer(target, dtype=pickler._torch.uint8).copy_(content)
        del target
    view.release()
    memory.close()


def dump(obj):
    """(pickle, descriptor of the memfd or -1, its size, numbers of the packages whose code it needs).

    The descriptor is the caller's. Raises what pickling raises.
    """
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    pickler.dump(obj)
    fd = -1
    if pickler.size:
        fd = os.memfd_create("deploy-replica", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            _fill(fd, pickler)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            os.close(fd)
            raise
    head = pickle.dumps(pickler.buffers)
    return head + stream.getvalue(), fd, pickler.size, sorted(pickler.packages)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream, memory, buffers):
        views = [memory[offset : offset + size] for offset, size, _ in buffers]
        super().__init__(
            stream, buffers=[view.toreadonly() if buffer[2] else view for view, buffer in zip(views, buffers, strict=True)]
        )
        self._memory = memory
        self._storages = {}

    def persistent_load(self, saved_id):
        kind, *data = saved_id
        if kind == "global":
            package_id, module, name = data
            return resolve(package.opened(package_id).import_module(module), name)
        import torch

        offset, size, dtype, device = data
        key = (offset, size) if offset >= 0 else object()
        if key not in self._storages:
            self._storages[key] = self._storage(torch, offset, size, device)
        storage = self._storages[key]
        return storage if dtype is None else torch.storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)

    def _storage(self, torch, offset, size, device):
        if device == "meta":
            return torch.UntypedStorage(size, device="meta")
        storage = untyped_storage(torch, self._memory[offset : offset + size])
        return storage if device == "cpu" else torch.empty(0, dtype=torch.uint8).set_(storage).to(device).untyped_storage()


def load(data, fd, size):
    """The object that dump() saw, anew. The descriptor stays the caller's; the packages it needs are open."""
    memory = memoryview(map_private(fd, size) if size else b"")
    stream = io.BytesIO(data)
    buffers = pickle.load(stream)
    return _Unpickler(stream, memory, buffers).load()
