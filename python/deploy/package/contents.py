"""What is inside a package, read without running anything of it.

The zip is read by Python's zipfile, the manifest is JSON, and pickles go through an unpickler that knows no class and calls no
function: every global is a stand-in that keeps what it was given. From these the tree of the model is told, with the shapes of its
tensors.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterator
from typing import Any

from deploy._deploy import ErrorCode
from deploy._error import Error
from deploy.package.manifest import FORMAT, RECORD

# Of torch's storage classes: the name of the element type, and its size in bytes.
_ELEMENT_TYPES = {
    "UntypedStorage": ("bytes", 1), "BoolStorage": ("bool", 1), "ByteStorage": ("uint8", 1), "CharStorage": ("int8", 1),
    "ShortStorage": ("int16", 2), "IntStorage": ("int32", 4), "LongStorage": ("int64", 8), "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2), "FloatStorage": ("float32", 4), "DoubleStorage": ("float64", 8),
    "ComplexFloatStorage": ("complex64", 8), "ComplexDoubleStorage": ("complex128", 16), "QInt8Storage": ("qint8", 1),
    "QUInt8Storage": ("quint8", 1), "QInt32Storage": ("qint32", 4), "QUInt4x2Storage": ("quint4x2", 1),
    "QUInt2x4Storage": ("quint2x4", 1),
}  # fmt: skip
_PARTS_OF_A_MODULE = ("_parameters", "_buffers", "_modules")


class Reader:
    """The records of a package by name. Error INVALID_PACKAGE where the file is none."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            self._archive = zipfile.ZipFile(self.path)
        except FileNotFoundError:
            raise Error(ErrorCode.NOT_FOUND, f"no file {self.path!r}") from None
        except (zipfile.BadZipFile, OSError) as error:
            raise Error(ErrorCode.INVALID_PACKAGE, f"{self.path!r} is no package: {error}") from None
        entries = [entry for entry in self._archive.infolist() if not entry.is_dir()]
        self._entries = {entry.filename.partition("/")[2]: entry for entry in entries}
        if ".data/extern_modules" not in self._entries:
            raise Error(ErrorCode.INVALID_PACKAGE, f"{self.path!r} is a zip file but no package: no record '.data/extern_modules'")

    @property
    def sizes(self) -> dict[str, int]:
        return {name: entry.file_size for name, entry in self._entries.items()}

    def read(self, name: str) -> bytes:
        try:
            return self._archive.read(self._entries[name])
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise Error(ErrorCode.INVALID_PACKAGE, f"{self.path!r}: record {name!r} cannot be read: {error}") from None

    def close(self) -> None:
        self._archive.close()

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The manifest; None where a package has none (plain torch.package)."""
    with Reader(path) as reader:
        return manifest_of(reader)


def manifest_of(reader: Reader) -> dict[str, Any] | None:
    if RECORD not in reader:
        return None
    try:
        manifest = json.loads(reader.read(RECORD))
        number = manifest["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise Error(ErrorCode.INVALID_PACKAGE, f"{reader.path!r} has a damaged manifest: {error}") from None
    if not isinstance(number, int) or number > FORMAT:
        why = f"{reader.path!r} has a manifest of format {number}; this deploy reads formats up to {FORMAT}: use a newer deploy"
        raise Error(ErrorCode.INVALID_PACKAGE, why)
    return manifest


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """A tensor of a pickle: its element type, shape, and the record that its memory is."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    record: str

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclasses.dataclass
class Storage:
    dtype: str
    item: int
    record: str


class StandIn:
    """Instead of an object of a class, or of what a function would have given."""

    of = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls)
        self.args = args
        self.state: Any = None
        self.items: list[Any] = []
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, item: Any) -> None:
        self.items.append(item)

    def extend(self, items: Any) -> None:
        self.items.extend(items)

    add = append

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def _tensor(storage: Any, offset: Any, size: Any, *rest: Any) -> Any:
    if not isinstance(storage, Storage) or not isinstance(size, tuple) or not all(isinstance(n, int) for n in size):
        return None
    count = 1
    for extent in size:
        count *= extent
    return TensorInfo(storage.dtype, size, count * storage.item, storage.record)


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor,
    ("torch._utils", "_rebuild_qtensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *rest: data,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *rest: data,
    ("torch._tensor", "_rebuild_from_type_v2"): lambda function, kind, args, state: (
        function(*args) if function is _tensor else None
    ),
}


# Called with an object and its state.
_KNOWN["deploy_package_support", "restore_transformers_model"] = lambda model, state: model.__setstate__(state)


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._kinds: dict[tuple[str, str], type] = {}

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        if known is not None:
            return known
        if (module, name) not in self._kinds:
            self._kinds[module, name] = type("StandIn", (StandIn,), {"of": f"{module}.{name}"})
        return self._kinds[module, name]

    def persistent_load(self, saved: Any) -> Any:
        if isinstance(saved, tuple) and len(saved) == 5 and saved[0] == "storage":
            kind = getattr(saved[1], "of", "").rpartition(".")[2]
            dtype, item = _ELEMENT_TYPES.get(kind, (kind, 1))
            return Storage(dtype, item, f".data/{saved[2]}.storage")
        if isinstance(saved, tuple) and len(saved) == 4 and saved[0] == "reduce_package":
            made = StandIn(saved[3])
            made.state = saved[3][0] if isinstance(saved[3], tuple) and saved[3] and isinstance(saved[3][0], dict) else None
            return made
        return None


def read_pickle(data: bytes) -> Any:
    """The structure of a pickle in dicts, lists, plain values, TensorInfos and StandIns. Error INVALID_PACKAGE."""
    try:
        return _Unpickler(data).load()
    except Exception as error:  # anything: it was made by who knows whom
        raise Error(ErrorCode.INVALID_PACKAGE, f"a pickle is damaged: {type(error).__name__}: {error}") from None


@dataclasses.dataclass
class Node:
    """A part of a model: its attribute name, the name of its class, tensors of its own, and parts."""

    name: str
    kind: str
    tensors: list[tuple[str, TensorInfo]] = dataclasses.field(default_factory=list)
    parts: list[Node] = dataclasses.field(default_factory=list)

    def all_tensors(self, prefix: str = "") -> Iterator[tuple[str, TensorInfo]]:
        for name, tensor in self.tensors:
            yield f"{prefix}{name}", tensor
        for part in self.parts:
            yield from part.all_tensors(f"{prefix}{part.name}.")

    @property
    def nbytes(self) -> int:
        """Of the tensors below, each record's once."""
        return sum({tensor.record: tensor.nbytes for _, tensor in self.all_tensors()}.values())


def tree_of(name: str, value: Any) -> Node:
    """The tree of what read_pickle() gave."""
    return _node(name, value, set())


def _node(name: str, value: Any, seen: set[int]) -> Node:
    node = Node(name, value.of if isinstance(value, StandIn) else type(value).__name__)
    if id(value) in seen:
        return node
    seen.add(id(value))
    for key, child in _children(value):
        if isinstance(child, TensorInfo):
            node.tensors.append((key, child))
        elif isinstance(child, (StandIn, dict, list, tuple)):
            part = _node(key, child, seen)
            if part.tensors or part.parts or (isinstance(child, StandIn) and _is_module(child)):
                node.parts.append(part)
    return node


def _is_module(value: StandIn) -> bool:
    return isinstance(value.state, dict) and "_modules" in value.state


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, StandIn):
        state = value.state if isinstance(value.state, dict) else {}
        for table in _PARTS_OF_A_MODULE:
            inner = state.get(table)
            yield from ((str(key), child) for key, child in (inner.items() if isinstance(inner, dict) else ()))
        yield from ((str(key), child) for key, child in state.items() if key not in _PARTS_OF_A_MODULE)
        if not isinstance(value.state, dict) and value.state is not None:
            yield "state", value.state
        yield from _children(value.args)
        yield from _children(value.items)
    elif isinstance(value, dict):
        yield from ((str(key), child) for key, child in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((str(index), child) for index, child in enumerate(value))


@dataclasses.dataclass
class Contents:
    """inspect()'s answer; str() of it is the text that `python -m deploy inspect` prints.

    manifest   the manifest record, None for a plain torch.package
    externs    the modules that the environment has to have
    pickles    {record: the tree of its object}
    sizes      {record: bytes}
    """

    path: str
    manifest: dict[str, Any] | None
    externs: list[str]
    pickles: dict[str, Node]
    sizes: dict[str, int]

    def __str__(self) -> str:
        from deploy.package.rendering import render

        return render(self)


def inspect(path: str | os.PathLike[str]) -> Contents:
    """What is inside a package. Nothing of it runs. deploy.Error INVALID_PACKAGE, NOT_FOUND."""
    with Reader(path) as reader:
        manifest = manifest_of(reader)
        externs = [line for line in reader.read(".data/extern_modules").decode(errors="replace").splitlines() if line]
        pickles = {}
        for record in reader.sizes:
            if (
                record.endswith(".pkl")
                and not record.startswith(".data/")
                and "/" in record
                and not _of_a_library(record, manifest)
            ):
                name = record.rpartition("/")[2].removesuffix(".pkl")
                pickles[record] = tree_of(name, read_pickle(reader.read(record)))
        return Contents(reader.path, manifest, externs, pickles, reader.sizes)


def _of_a_library(record: str, manifest: dict[str, Any] | None) -> bool:
    tops = {top for entry in (manifest or {}).get("interned", ()) for top in entry["modules"]}
    return record.partition("/")[0] in tops
