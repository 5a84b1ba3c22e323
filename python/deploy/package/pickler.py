"""Pickles for packages.

The stream is what torch.package's importer reads: protocol 4, storages and `__reduce_package__` objects by persistent id, classes
and functions by the name that names.py finds. On the way it notes every module that the pickle will import, because these have to
be in the package or in the environment.

An object that cannot be pickled does not end the run: it is noted with its path, so that all of them are told at once. In the
stream NotImplemented takes its place. Where that can be read again (`has_gaps_only`), a result can be recorded without such parts;
all other pickles with problems are of no use, and nobody gets them.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any, Protocol

from deploy.package.names import NameProblem, Names
from deploy.package.object_parts import pickles_attributes
from deploy.package.paths import attribute_path
from deploy.package.problems import Problem

# Deep models nest deeper than Python's default limit; the pickler's own frames are Python's, which are on the heap, but an
# extension type's __reduce_ex__ in between is not.
_RECURSION_LIMIT = 100_000
_STACK_BYTES = 512 << 20

_CLUES = {
    "generator": "a generator cannot be written down; keep what makes it instead",
    "_thread.lock": "make it in __setstate__ (and leave it out in __getstate__), or at the first use",
    "_thread.RLock": "make it in __setstate__ (and leave it out in __getstate__), or at the first use",
    "_io.TextIOWrapper": "open the file at the first use",
}


class TensorSupport(Protocol):
    """What torch's objects need (torch_objects.py); not there where torch is not imported."""

    def persistent_id(self, obj: Any) -> Any: ...
    def reduce(self, obj: Any) -> Any: ...


class Pickler(pickle._Pickler):  # type: ignore[name-defined]  # the C one cannot rename what it refers to
    def __init__(self, stream: io.BytesIO, root: str, names: Names, tensors: TensorSupport | None) -> None:
        super().__init__(stream, protocol=4)
        self.dispatch = {  # type: ignore[misc]
            **pickle._Pickler.dispatch,  # type: ignore[attr-defined]
            FunctionType: Pickler.save_global,
            _Named: Pickler._save_named,
        }
        self.references: dict[str, None] = {}
        self.problems: list[Problem] = []
        self.has_gaps_only = True  # all problems are elements of containers, or attributes of objects that are pickled by these
        self._root = root
        self._stream = stream
        self._names = names
        self._tensors = tensors
        self._chain: list[Any] = []

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        self._chain.append(obj)
        start = self._position()
        try:
            super().save(obj, save_persistent_id)
        except NameProblem as problem:
            self._note(problem.why, problem.choice, start)
        except RecursionError:
            self._note("is nested too deeply", "make it flatter: pickle needs a frame of its stack for each level", start)
        except Exception as error:  # anything that a __reduce__ or __getstate__ may raise
            kind = f"{type(obj).__module__}.{type(obj).__qualname__}"
            clue = next((text for name, text in _CLUES.items() if name in str(error) or name in kind), "")
            choice = clue or "give its class a __reduce__ or __getstate__ that leaves out what cannot be pickled"
            self._note(f"a {kind} cannot be pickled: {type(error).__name__}: {error}", choice, start)
        finally:
            self._chain.pop()

    def _position(self) -> int:
        frame = self.framer.current_frame
        return self._stream.tell() + (frame.tell() if frame else 0)

    def _note(self, why: str, choice: str, start: int) -> None:
        problem = Problem(attribute_path(self._root, self._chain), why, choice)
        if problem not in self.problems:
            self.problems.append(problem)
        around = self._chain[:-1]
        self.has_gaps_only &= bool(around) and self._position() == start and all(_takes_any_part(each) for each in around)
        self.refer_to("builtins")
        self._write_global("builtins", "NotImplemented")

    def persistent_id(self, obj: Any) -> Any:
        return self._tensors.persistent_id(obj) if self._tensors is not None else None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, ModuleType):
            self.refer_to(obj.__name__)
            return importlib.import_module, (obj.__name__,)
        if isinstance(obj, MethodType) and not _is_found_by_name(obj):
            return MethodType, (obj.__func__, obj.__self__)
        return self._tensors.reduce(obj) if self._tensors is not None else NotImplemented

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module, qualified = self._names.find(obj, name)
        self.refer_to(module)
        outer, _, last = qualified.rpartition(".")
        if outer:
            # torch.package's importer looks up plain names only.
            self.save_reduce(getattr, (_Named(module, outer), last), obj=obj)
            return
        self._write_global(module, qualified)
        self.memoize(obj)

    def _write_global(self, module: str, name: str) -> None:
        super().save(module)
        super().save(name)
        self.write(pickle.STACK_GLOBAL)

    def _save_named(self, obj: _Named) -> None:
        outer, _, last = obj.name.rpartition(".")
        if outer:
            self.save_reduce(getattr, (_Named(obj.module, outer), last))
        else:
            self._write_global(obj.module, obj.name)

    def refer_to(self, module: str) -> None:
        self.references[module] = None


def _is_found_by_name(method: MethodType) -> bool:
    """Whether the method's name leads from its object to its function, as pickle takes for granted. It does not where a function
    was bound by hand: under another name, or one that has no name, such as a functools.partial."""
    owner = method.__self__
    name = getattr(method.__func__, "__name__", None)
    if not isinstance(name, str):
        return False
    found = getattr(owner, name, None) if isinstance(owner, type) else inspect.getattr_static(type(owner), name, None)
    found = getattr(found, "__func__", found)
    return found is method.__func__ or (found is not None and not isinstance(found, FunctionType))


def _takes_any_part(obj: Any) -> bool:
    kind = type(obj)
    return kind in (dict, list, tuple) or (pickles_attributes(kind) and not hasattr(kind, "__setstate__"))


class _Named:
    """Stands for the object of that name while its attribute is saved."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name


@contextlib.contextmanager
def _recursion_limit(limit: int) -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, limit))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def on_a_large_stack(function: Callable[[], Any]) -> Any:
    """function() on a thread of its own, which may recurse deeply."""
    outcome: list[Any] = []
    error: list[BaseException] = []

    def run() -> None:
        try:
            with _recursion_limit(_RECURSION_LIMIT):
                outcome.append(function())
        except BaseException as raised:
            error.append(raised)

    before = threading.stack_size(_STACK_BYTES)
    try:
        thread = threading.Thread(target=run, name="deploy-package")
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    if error:
        raise error[0]
    return outcome[0]
