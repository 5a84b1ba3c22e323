"""What pickle_machine.py makes of a pickle: stand-ins for its objects, in which tensors are recognised.

Nothing here is hashed, compared or printed by way of what a pickle holds: a container is a list of what is in it, and two things
are the same only if they are one object.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

# Of torch's storage classes: the name of the element type, and its size in bytes.
_ELEMENT_TYPES = {
    "UntypedStorage": ("bytes", 1), "BoolStorage": ("bool", 1), "ByteStorage": ("uint8", 1), "CharStorage": ("int8", 1),
    "ShortStorage": ("int16", 2), "IntStorage": ("int32", 4), "LongStorage": ("int64", 8), "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2), "FloatStorage": ("float32", 4), "DoubleStorage": ("float64", 8),
    "ComplexFloatStorage": ("complex64", 8), "ComplexDoubleStorage": ("complex128", 16), "QInt8Storage": ("qint8", 1),
    "QUInt8Storage": ("quint8", 1), "QInt32Storage": ("qint32", 4), "QUInt4x2Storage": ("quint4x2", 1),
    "QUInt2x4Storage": ("quint2x4", 1),
}  # fmt: skip

_MOST_DIMENSIONS = 64  # torch's own limit
_MOST_ELEMENTS = 1 << 63


@dataclasses.dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor of a pickle: its element type, shape, and the record that its memory is."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    record: str

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclasses.dataclass(slots=True, eq=False)
class Storage:
    dtype: str
    item: int
    record: str


@dataclasses.dataclass(slots=True, eq=False)
class Global:
    """A class or function, by name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Opaque:
    """A value whose content is of no interest: bytes, a large number."""

    __slots__ = ()


OPAQUE = Opaque()


class Sequence:
    """A list or a set. Kept of it is what may matter later, by index: other things than plain values."""

    __slots__ = ("_kept", "count", "kind")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.count = 0
        self._kept: list[tuple[int, Any]] | None = None

    def extend(self, values: list[Any]) -> int:
        """Gives how many of `values` are kept."""
        kept = [(index, value) for index, value in enumerate(values, self.count) if is_part(value)]
        if kept:
            self._kept = self._kept or []
            self._kept += kept
        self.count += len(values)
        return len(kept)

    def parts(self) -> Iterator[tuple[Any, Any]]:
        yield from self._kept or ()


class Tuple:
    """A tuple, with all that is in it: the arguments of a call, a shape."""

    __slots__ = ("all",)
    kind = "tuple"

    def __init__(self, values: list[Any]) -> None:
        self.all = values

    def parts(self) -> Iterator[tuple[Any, Any]]:
        return ((index, value) for index, value in enumerate(self.all) if is_part(value))


class Table:
    """A dict. Kept of it are the keys with what may matter later."""

    __slots__ = ("_kept",)
    kind = "dict"

    def __init__(self) -> None:
        self._kept: list[tuple[Any, Any]] | None = None

    def extend(self, values: list[Any]) -> int:
        """Of keys and values in turn. Gives how many are kept."""
        keys = iter(values)
        kept = [(key, value) for key, value in zip(keys, keys, strict=False) if is_part(value)]
        if kept:
            self._kept = self._kept or []
            self._kept += kept
        return len(kept)

    def parts(self) -> Iterator[tuple[Any, Any]]:
        """A name that is there twice comes twice; the last one is what a dict would have."""
        yield from self._kept or ()


class StandIn:
    """Instead of an object of a class, or of what a function would have given."""

    __slots__ = ("args", "items", "of", "pairs", "state")

    def __init__(self, of: str, args: Any = None, state: Any = None) -> None:
        self.of = of
        self.args = args
        self.state = state
        self.items: Sequence | None = None
        self.pairs: Table | None = None

    @property
    def kind(self) -> str:
        return self.of

    def extend(self, values: list[Any]) -> int:
        self.items = self.items or Sequence("list")
        return self.items.extend(values)

    def set_items(self, values: list[Any]) -> int:
        self.pairs = self.pairs or Table()
        return self.pairs.extend(values)


_PARTS = (Sequence, Tuple, Table, StandIn, TensorInfo)


def is_part(value: Any) -> bool:
    """Whether tensors or parts of a model may be in it."""
    return isinstance(value, _PARTS)


def made_by(function: Any, args: Any) -> Any:
    """What a pickled call gives. `args` is a Tuple, if the pickle is honest."""
    given = args.all if isinstance(args, Tuple) else []
    if not isinstance(function, Global):
        return StandIn("object", args)
    known = _KNOWN.get(str(function))
    made = known(given) if known is not None else None
    return made if made is not None else StandIn(str(function), args)


def of_persistent_id(saved: Any) -> Any:
    """What torch.package keeps outside of the pickle."""
    given = saved.all if isinstance(saved, Tuple) else []
    if len(given) == 5 and _is_text(given[0], "storage") and isinstance(given[1], Global):
        kind = given[1].name
        dtype, item = _ELEMENT_TYPES.get(kind, (kind, 1))
        return Storage(dtype, item, f".data/{given[2]}.storage" if isinstance(given[2], (str, int)) else "")
    if len(given) == 4 and _is_text(given[0], "reduce_package") and isinstance(given[3], Tuple):
        first = given[3].all[0] if given[3].all else None
        of = str(given[2]) if isinstance(given[2], Global) else "object"
        return StandIn(of, given[3], first if isinstance(first, Table) else None)
    return None


def _is_text(value: Any, text: str) -> bool:
    return type(value) is str and value == text


def _tensor(args: list[Any]) -> Any:
    """_rebuild_tensor_v2(storage, offset, size, ...)"""
    storage, size = (args[0], args[2]) if len(args) > 2 else (None, None)
    if not isinstance(storage, Storage) or not isinstance(size, Tuple) or len(size.all) > _MOST_DIMENSIONS:
        return None
    count = 1
    for extent in size.all:
        if type(extent) is not int or not 0 <= extent < _MOST_ELEMENTS:
            return None
        count *= extent
    if count >= _MOST_ELEMENTS:
        return None
    return TensorInfo(storage.dtype, tuple(size.all), count * storage.item, storage.record)


def _from_type(args: list[Any]) -> Any:
    """_rebuild_from_type_v2(function, type, args, state)"""
    if len(args) < 3 or not isinstance(args[0], Global) or not isinstance(args[2], Tuple):
        return None
    return _tensor(args[2].all) if _KNOWN.get(str(args[0])) is _tensor else None


def _with_state(args: list[Any]) -> Any:
    """restore_transformers_model(model, state)"""
    if len(args) != 2 or not isinstance(args[0], StandIn):
        return None
    args[0].state = args[1]
    return args[0]


def _reconstructed(args: list[Any]) -> Any:
    """copyreg._reconstructor(class, base, state)"""
    return StandIn(str(args[0])) if args and isinstance(args[0], Global) else None


def _first(args: list[Any]) -> Any:
    return args[0] if args else None


_KNOWN = {
    "collections.OrderedDict": lambda args: Table() if not args else None,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_qtensor": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "deploy_package_support.restore_transformers_model": _with_state,
    "copyreg._reconstructor": _reconstructed,
    "copy_reg._reconstructor": _reconstructed,
}
