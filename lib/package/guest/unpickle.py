"""Pickles of a package: classes come from the package's importer, tensors' storages are pages of its file."""

import io
import pickle
import sys

from _deploy.archive import InvalidPackage


def resolve(module, qualified_name):
    """Attribute `a.b` of a module."""
    found = module
    for part in qualified_name.split("."):
        found = getattr(found, part)
    return found


def untyped_storage(torch, view):
    """A storage over writable memory, which it keeps alive; nothing is copied."""
    if len(view) == 0:
        return torch.UntypedStorage(0)
    return torch.frombuffer(view, dtype=torch.uint8).untyped_storage()


class _Unpickler(pickle.Unpickler):
    def __init__(self, load, data):
        super().__init__(io.BytesIO(data))
        self._load = load
        self.persistent_load = load.persistent

    def find_class(self, module, name):
        found = self._load.importer.import_module(module)
        if module == "numpy" and name in ("str", "bool") and not hasattr(found, name):
            return {"str": str, "bool": bool}[name]  # names that numpy had when the package was written
        guard = self._load.importer.guard
        return resolve(found, name) if guard is None else guard.resolve(found, name)


class Load:
    """One load_pickle: its storages are shared inside the object that it makes, and with nothing else."""

    def __init__(self, importer, map_location):
        self.importer = importer
        self.map_location = map_location
        self._mapping = None
        self._mapped = {}  # storage key -> untyped storage over the file's pages
        self._restored = {}  # storage key -> the same at its location
        self._reduced = {}
        self._context = None

    def run(self, data):
        result = _Unpickler(self, data).load()
        validate = getattr(sys.modules.get("torch._utils"), "_validate_loaded_sparse_tensors", None)
        if validate is not None:
            validate()
        return result

    def persistent(self, saved_id):
        kind, *data = saved_id if isinstance(saved_id, tuple) and saved_id else (saved_id,)
        kind = kind.decode() if isinstance(kind, bytes) else kind
        if kind == "storage" and len(data) == 4:
            return self._storage(*data)
        if kind == "reduce_package" and len(data) == 2:  # written before the id was added
            function, arguments = data
            return function(self.importer, *arguments)
        if kind == "reduce_package" and len(data) == 3:
            key, function, arguments = data
            if key not in self._reduced:
                self._reduced[key] = function(self.importer, *arguments)
            return self._reduced[key]
        raise pickle.UnpicklingError(f"unknown persistent id {kind!r}; expected 'storage' or 'reduce_package'")

    def _storage(self, storage_type, key, location, count):
        import torch

        dtype = torch.uint8 if storage_type is torch.UntypedStorage else storage_type._dtype  # `dtype` warns
        key = str(key)
        if key not in self._restored:
            storage = self._map(torch, key)
            if storage.nbytes() != count * dtype.itemsize:
                raise InvalidPackage(
                    f"package {self.importer.filename!r}: record '.data/{key}.storage' has {storage.nbytes()} bytes, "
                    f"but its pickle says {count} elements of {dtype}"
                )
            self._restored[key] = self._restore(torch, storage, location)
        return torch.storage.TypedStorage(wrap_storage=self._restored[key], dtype=dtype, _internal=True)

    def _map(self, torch, key):
        if key not in self._mapped:
            if self._mapping is None:
                self._check_byte_order()
                self._mapping = self.importer.archive.mapping()
            self._mapped[key] = untyped_storage(torch, self._mapping.view(f".data/{key}.storage"))
        return self._mapped[key]

    def _check_byte_order(self):
        archive = self.importer.archive
        order = archive.read("byteorder") if "byteorder" in archive else b"little"
        if order != b"little":
            raise InvalidPackage(
                f"package {archive.path!r} has tensors in byte order {order.decode(errors='replace')!r}; expected 'little'"
            )

    def _restore(self, torch, storage, location):
        location = location.decode() if isinstance(location, bytes) else location
        if location == "cpu" and self.map_location is None:
            return storage
        return torch.serialization._get_restore_location(self.map_location)(storage, location)

    def storage_context(self):
        """For TorchScript modules, which look their weights up there before they read them: all are the file's pages."""
        if self._context is None:
            import torch

            self._context = torch._C.DeserializationStorageContext()
            for name in self.importer.archive.names():
                folder, _, file = name.rpartition("/")
                if folder == ".data" and file.endswith(".storage"):
                    storage = self._map(torch, file.removesuffix(".storage"))
                    self._context.add_storage(file, torch.empty(0, dtype=torch.uint8).set_(storage))
        return self._context
