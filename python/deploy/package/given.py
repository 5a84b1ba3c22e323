"""What the caller gave to save(), kept while the example runs.

The example is a call of the caller's own object, because only that shows whether the package does the same. It changes what it
likes: counters, caches, hooks, statistics. So every object that pickling reaches is noted as it is: which values its attributes,
elements and slots have (not copies of these), its class, the state of its generator of random numbers. Afterwards all that differs
is put back into the same objects. Tensors are noted as what they refer to; their memory is in the file by then
(stored_tensors.py), or copied, if pickling left them out.

What belongs to the process and to no object stays as the example left it: what it imported, global variables, functools.lru_cache.
"""

from __future__ import annotations

import collections
import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, MethodDescriptorType, ModuleType
from typing import Any

from deploy.package.sources import is_own

_PLAIN = (int, float, complex, bool, str, bytes, type(None), range, slice, ModuleType, BuiltinFunctionType, MethodDescriptorType)
_VALUES = (int, float, complex, bool, str, bytes, type(None), tuple)
_CONTAINERS = (dict, list, tuple, set, frozenset, collections.deque, collections.OrderedDict, collections.defaultdict)
_MISSING = object()


class Given:
    """note() is called with each object that is pickled; kept() is the time of the example."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}  # keeps what was noted alive, or ids would be given again
        self._undo: list[Callable[[], None]] = []
        self._tensors: list[Any] = []
        self._given_tensors: list[Any] = []
        self.not_put_back: list[str] = []

    def note(self, obj: Any) -> None:
        pending = [obj]
        while pending:
            obj = pending.pop()
            if type(obj) in _PLAIN or id(obj) in self._seen:
                continue
            self._seen[id(obj)] = obj
            if isinstance(obj, type):
                self._note_class(obj, pending)
                continue
            if isinstance(obj, FunctionType):
                pending += [obj.__defaults__, obj.__kwdefaults__, *map(_content_of_cell, obj.__closure__ or ())]
            self._note_attributes(obj, pending)
            self._note_content(obj, pending)

    @contextlib.contextmanager
    def kept(self, in_the_file: Callable[[Any], bool]) -> Iterator[None]:
        """Puts everything back at the end. `in_the_file`: whether a tensor's memory is kept elsewhere."""
        try:
            if self._tensors:
                from deploy.package.given_tensors import GivenTensor

                for tensor in self._tensors:
                    self._given_tensors.append(GivenTensor(tensor, in_the_file))
            yield
        finally:
            self.put_back()

    def put_back(self) -> None:
        self.not_put_back.clear()
        for undo in [*(tensor.put_back for tensor in self._given_tensors), *reversed(self._undo)]:
            try:
                undo()
            except Exception as error:  # whatever an object does not allow; the others are put back all the same
                self.not_put_back.append(f"{type(error).__name__}: {error}")

    def put_back_to_begin_again(self) -> None:
        self.put_back()
        for tensor in self._given_tensors:
            tensor.put_gradient_aside()

    def _later(self, undo: Callable[[], None]) -> None:
        self._undo.append(undo)

    # Attributes.

    def _note_attributes(self, obj: Any, pending: list[Any]) -> None:
        kind = type(obj)
        names = _attributes_of(obj)
        slots = [(member, _value_of(member, obj)) for member in _slots_of(kind)]
        pending += [value for value in (*(names or {}).values(), *(value for _, value in slots)) if _is_followed(value)]
        if names is None and not slots:
            return
        saved = None if names is None else dict(names)

        def undo() -> None:
            if type(obj) is not kind:
                object.__setattr__(obj, "__class__", kind)
            if names is not None and saved is not None:
                if _attributes_of(obj) is not names:
                    object.__setattr__(obj, "__dict__", names)
                if not _same_pairs(list(names.items()), list(saved.items())):
                    names.clear()
                    names.update(saved)
            for member, value in slots:
                if _value_of(member, obj) is value:
                    continue
                if value is _MISSING:
                    member.__delete__(obj)
                else:
                    member.__set__(obj, value)

        self._later(undo)

    def _note_class(self, kind: type, pending: list[Any]) -> None:
        """Counters and tables that an own class has for all its objects."""
        for each in kind.__mro__:
            if each is not kind and id(each) in self._seen:
                continue
            self._seen[id(each)] = each
            if is_own(each.__module__):
                self._note_own_class(each, pending)

    def _note_own_class(self, kind: type, pending: list[Any]) -> None:
        def values() -> dict[str, Any]:
            return {name: value for name, value in vars(kind).items() if not name.startswith("__") and type(value) in _VALUES}

        saved = values()
        pending += [value for value in vars(kind).values() if type(value) in _CONTAINERS]

        def undo() -> None:
            for name, value in values().items():
                if name not in saved:
                    type.__delattr__(kind, name)
                elif value is not saved[name]:
                    type.__setattr__(kind, name, saved[name])

        self._later(undo)

    # What is in an object besides its attributes.

    def _note_content(self, obj: Any, pending: list[Any]) -> None:
        if isinstance(obj, dict):
            self._note_table(obj)
        elif isinstance(obj, (list, collections.deque, bytearray)):
            self._note_sequence(obj)
        elif isinstance(obj, set):
            saved = set(obj)
            self._later(lambda: None if _same_members(obj, saved) else (set.clear(obj), set.update(obj, saved)))
        elif isinstance(obj, random.Random):
            state = obj.getstate()
            self._later(lambda: obj.setstate(state))
        elif "numpy" in sys.modules and isinstance(obj, _numpy_kinds()):
            self._note_numpy(obj)
        elif "torch" in sys.modules and isinstance(obj, (sys.modules["torch"].Tensor, sys.modules["torch"].Generator)):
            self._note_torch(obj)
        elif "torch" in sys.modules and isinstance(obj, sys.modules["torch"].jit.ScriptModule):
            pending += obj.buffers()
        else:
            self._note_state(obj)
        if type(obj) in _CONTAINERS:
            values = list(obj.values()) if isinstance(obj, dict) else list(obj)
            pending += [value for value in values if _is_followed(value)]

    def _note_table(self, table: dict[Any, Any]) -> None:
        kind = collections.OrderedDict if isinstance(table, collections.OrderedDict) else dict
        saved = list(kind.items(table))

        def undo() -> None:
            if not _same_pairs(list(kind.items(table)), saved):
                kind.clear(table)
                for key, value in saved:
                    kind.__setitem__(table, key, value)

        self._later(undo)

    def _note_sequence(self, sequence: Any) -> None:
        saved = list(sequence)
        kind = next(kind for kind in (list, collections.deque, bytearray) if isinstance(sequence, kind))

        def undo() -> None:
            now = list(kind.__iter__(sequence))
            if len(now) != len(saved) or any(one is not other for one, other in zip(now, saved, strict=True)):
                kind.clear(sequence)
                kind.extend(sequence, saved)

        self._later(undo)

    def _note_numpy(self, obj: Any) -> None:
        numpy = sys.modules["numpy"]
        if isinstance(obj, numpy.ndarray) and obj.flags.writeable:
            saved = obj.copy()

            def undo() -> None:
                if obj.shape != saved.shape:
                    obj.resize(saved.shape, refcheck=False)
                numpy.copyto(obj, saved)

            self._later(undo)
        elif isinstance(obj, numpy.random.Generator):
            generator = obj.bit_generator
            state = generator.state
            self._later(lambda: setattr(generator, "state", state))
        elif isinstance(obj, numpy.random.RandomState):
            legacy = obj.get_state(legacy=False)
            self._later(lambda: obj.set_state(legacy))

    def _note_torch(self, obj: Any) -> None:
        if isinstance(obj, sys.modules["torch"].Tensor):
            self._tensors.append(obj)
        else:
            state = obj.get_state()
            self._later(lambda: obj.set_state(state))

    def _note_state(self, obj: Any) -> None:
        """Of a type of an extension module, which keeps what it has to itself, if its state is a plain value: files in memory,
        iterators, tokenizers."""
        if isinstance(getattr(type(obj), "__setstate__", FunctionType), (FunctionType, type)):
            return

        def state() -> Any:
            reduced = obj.__reduce_ex__(4)
            return reduced[2] if isinstance(reduced, tuple) and len(reduced) > 2 else None

        try:
            saved = state()
        except Exception:  # it cannot be pickled: the pickler tells
            return
        if saved is not None and _is_value(saved):
            self._later(lambda: None if state() == saved else obj.__setstate__(saved))


def _numpy_kinds() -> tuple[type, ...]:
    numpy = sys.modules["numpy"]
    return numpy.ndarray, numpy.random.Generator, numpy.random.RandomState


def _content_of_cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _attributes_of(obj: Any) -> dict[str, Any] | None:
    try:
        found = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        return None
    return found if type(found) is dict else None


def _slots_of(kind: type) -> list[MemberDescriptorType]:
    """Those of classes that Python code defined."""
    found = [member for each in kind.__mro__ if "__slots__" in vars(each) for member in vars(each).values()]
    return [member for member in found if isinstance(member, MemberDescriptorType)]


def _value_of(member: Any, obj: Any) -> Any:
    try:
        return member.__get__(obj)
    except AttributeError:
        return _MISSING


def _is_followed(value: Any) -> bool:
    """Whether it is part of what it is in, even if a __getstate__ left it out."""
    arrays = [getattr(sys.modules.get(library), name, ()) for library, name in (("numpy", "ndarray"), ("torch", "Tensor"))]
    return type(value) in _CONTAINERS or isinstance(value, tuple(arrays))


def _is_value(value: Any) -> bool:
    if type(value) is dict:
        return all(map(_is_value, value.values()))
    return all(map(_is_value, value)) if type(value) is tuple else type(value) in _VALUES


def _same_pairs(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(a[0] is b[0] and a[1] is b[1] for a, b in zip(one, other, strict=True))


def _same_members(one: set[Any], other: set[Any]) -> bool:
    return {id(member) for member in one} == {id(member) for member in other}
