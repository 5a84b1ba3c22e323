"""torch's objects in pickles: storages become records, TorchScript modules and fx graphs are written as torch.package does.

Storages are collected, not copied: write() streams each from where it lies. Those that share memory share a record,
whatever the types of the tensors over them, so tied weights and views stay tied. What the example changed of a storage that is in
the file already is another record, which the result refers to (stored_tensors.py).

TorchScript is written by torch's own serializer, which wants torch's own writer: it gets one in memory, whose records are moved
over. It hands out the numbers of all storages, so that those of its modules and those of the pickles do not collide.
"""

from __future__ import annotations

import importlib
import io
import itertools
import sys
import zipfile
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
import torch.nn.utils.parametrize
from torch.package.importer import Importer
from torch.utils.hooks import RemovableHandle

from deploy.package import library_functions, support
from deploy.package.names import Names
from deploy.package.stored_tensors import StoredTensors
from deploy.package.zip_writer import ZipWriter

_BOOKKEEPING = ("version", ".data/version", ".data/serialization_id", "byteorder")


class Tensors:
    """The tensors of one package. `sources` are modules that objects wrote themselves ({name: source}), as fx does."""

    def __init__(self, names: Names) -> None:
        self.sources: dict[str, str] = {}
        self.records: dict[str, bytes] = {}
        self.numbers = itertools.count()
        self._filter = library_functions.Filter()
        self._names = names
        self.stored = StoredTensors()
        self._reduced: dict[int, tuple[Any, Any]] = {}  # id -> the object (kept alive), its persistent id
        self._buffer = io.BytesIO()
        self._torch_writer = torch._C.PyTorchFileWriter(self._buffer)
        self._serializer = torch._C.ScriptModuleSerializer(self._torch_writer)
        self._context = self._serializer.storage_context()

    # For the pickler.

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, torch.storage.TypedStorage):
            kind, count = getattr(torch, obj._pickle_storage_type()), obj._size()
            return self._storage(obj._untyped_storage, kind, count)
        if isinstance(obj, torch.UntypedStorage):
            return self._storage(obj, torch.UntypedStorage, obj.nbytes())
        if hasattr(type(obj), "__reduce_package__"):
            if id(obj) not in self._reduced:
                number = next(self.numbers)
                self._reduced[id(obj)] = obj, ("reduce_package", number, *obj.__reduce_package__(_Exporter(self, self._names)))
            return self._reduced[id(obj)][1]
        return None

    def _storage(self, storage: torch.UntypedStorage, kind: type, count: int) -> Any:
        if storage.device.type == "meta":
            raise TypeError("its memory is on the meta device: it has a shape and no values")
        location = torch.serialization.location_tag(storage)
        key = str(self._context.get_or_add_storage(storage))
        changed = self.stored.changed_copy(key)
        if changed is not None:
            storage, key = changed, str(self._context.get_or_add_storage(changed))
        self.stored.add(key, storage)
        return "storage", kind, key, location, count

    @staticmethod
    def typed(kind: Any, storage: torch.UntypedStorage) -> Any:
        """A storage as what the first part of its persistent id says."""
        if kind is torch.UntypedStorage:
            return storage
        return torch.storage.TypedStorage(wrap_storage=storage, dtype=kind._dtype, _internal=True)

    def reduce(self, obj: Any) -> Any:
        """How modules are pickled that cannot be as they are, or that would not be whole."""
        if isinstance(obj, RemovableHandle):
            return self._filter.reduce_handle(obj)
        if not isinstance(obj, torch.nn.Module):
            return NotImplemented
        if torch.nn.utils.parametrize.is_parametrized(obj):
            # Its class was made for it alone, and refuses to be pickled. Its own class, its state and the names of the parametrized
            # tensors are enough to make it again.
            original = type(obj).__mro__[1]
            if type(obj).__name__ == f"Parametrized{original.__name__}":
                state = self._filter.state(original.__getstate__(obj))
                return support.rebuild_parametrized, (original, list(obj.parametrizations)), state
        restore = support.restore_transformers_model if hasattr(type(obj), "_can_record_outputs") else None
        if (restore is not None and "transformers" in sys.modules) or self._filter.applies(obj):
            reduced = obj.__reduce_ex__(4)
            if isinstance(reduced, tuple) and len(reduced) >= 3 and isinstance(reduced[2], dict):
                made = (*reduced[:2], self._filter.state(reduced[2]), *(*reduced[3:], None, None)[:2])
                return made if restore is None else (*made, restore)
        return NotImplemented

    # For the package.

    def write(self, writer: ZipWriter, progress: Callable[[int], None]) -> None:
        """The records of the storages, then TorchScript's."""
        self.stored.write(writer, progress)
        self._write_script_modules(writer)
        for name, data in self.records.items():
            writer.write(name, data)

    def _write_script_modules(self, writer: ZipWriter) -> None:
        self._serializer.write_files()
        self._torch_writer.write_end_of_file()
        with zipfile.ZipFile(self._buffer) as archive:
            for entry in archive.namelist():
                name = entry.partition("/")[2]
                if name not in _BOOKKEEPING:
                    writer.write(name, archive.read(entry))

    def serialize_script_module(self, module: Any, number: int) -> None:
        self._serializer.serialize(module, number)


class _Exporter:
    """What a `__reduce_package__` asks of torch.package's PackageExporter."""

    def __init__(self, tensors: Tensors, names: Names) -> None:
        self._tensors = tensors
        self.importer = _Importer(names)
        self.script_module_serializer = _ScriptModules(tensors)

    def get_unique_id(self) -> str:
        return str(next(self._tensors.numbers))

    def save_source_string(self, module_name: str, src: str, is_package: bool = False, dependencies: bool = True) -> None:
        self._tensors.sources[module_name] = src

    def save_binary(self, package: str, resource: str, binary: bytes) -> None:
        self._tensors.records[f"{package.replace('.', '/')}/{resource}"] = binary

    def save_text(self, package: str, resource: str, text: str) -> None:
        self.save_binary(package, resource, text.encode())


class _ScriptModules:
    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors

    def serialize(self, module: Any, number: int) -> None:
        self._tensors.serialize_script_module(module, number)


class _Importer(Importer):
    def __init__(self, names: Names) -> None:
        self._names = names

    def import_module(self, module_name: str) -> ModuleType:
        return importlib.import_module(module_name)

    def get_name(self, obj: Any, name: str | None = None) -> tuple[str, str]:
        return self._names.find(obj, name)
