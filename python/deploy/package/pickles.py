"""The pickles of one package, and what becomes of the objects while the example runs."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
from collections.abc import Iterator
from typing import Any

from deploy.package.draft import Draft
from deploy.package.given import Given
from deploy.package.names import Names
from deploy.package.pickler import Pickler, on_a_large_stack
from deploy.package.problems import Problem


class Pickles:
    """They share names and storages. `given`: the objects as they were, if an example is going to change them."""

    def __init__(self, names: Names, given: Given | None) -> None:
        self._names = names
        self._given = given
        self._kept: Given | None = None
        self.tensors: Any = None
        self.references: dict[str, None] = {}
        self.problems: list[Problem] = []
        self.records: dict[str, bytes] = {}
        self.imports: set[tuple[str, str]] | None = None  # those of the example's call, where there is one

    def add(self, record: str, root: str, obj: Any, gaps: bool = False) -> list[Problem]:
        """Pickles `obj`, which is called `root` in what is said of it. The problems, in which case there is no record; with `gaps`
        there is one if these are parts that may be missing."""
        if self.tensors is None and "torch" in sys.modules:  # the example may be what imports it
            from deploy.package.torch_objects import Tensors

            self.tensors = Tensors(self._names)
        stream = io.BytesIO()
        pickler = _Pickler(stream, root, self._names, self.tensors)
        pickler.given = self._given
        on_a_large_stack(lambda: pickler.dump(obj))
        if not pickler.problems or (gaps and pickler.has_gaps_only):
            self.references.update(pickler.references)
            self.records[record] = stream.getvalue()
        elif self.tensors is not None:
            self.tensors.stored.forget_new()
        return pickler.problems

    def write_storages(self, draft: Draft) -> None:
        """Those of the pickles so far."""
        if self.tensors is not None:
            with draft.writing() as writer:
                self.tensors.stored.write(writer, draft.count)

    @contextlib.contextmanager
    def put_back(self, draft: Draft, notes: list[str]) -> Iterator[None]:
        """The time in which the example changes the objects; at its end they are as before, or a note says what is not. What is
        pickled in it after look_at_changes() is as it is then."""
        given, self._kept, self._given = self._given, self._given, None
        stored = self.tensors.stored if self.tensors is not None else None
        assert given is not None
        try:
            with given.kept(stored.has if stored is not None else lambda storage: False):
                yield
        finally:
            self._put_memory_back(draft)
            notes += [
                f"the example changed the object, and a part of it could not be put back: {why}" for why in given.not_put_back
            ]

    def start_over(self, draft: Draft) -> None:
        """Within put_back(): undoes what a call did that is going to be repeated."""
        if self._kept is not None:
            self._kept.put_back_to_begin_again()
        self._put_memory_back(draft)

    def _put_memory_back(self, draft: Draft) -> None:
        if self.tensors is not None:
            self.tensors.stored.put_back(draft.descriptor)

    def look_at_changes(self, draft: Draft) -> None:
        """Finds the tensors that are no longer what the file has."""
        if self.tensors is not None:
            self.tensors.stored.find_changed(draft.descriptor)

    def copy_of(self, record: str, original: Any) -> Any:
        """What a pickle holds, made anew; the original where that does not work, which verify will tell."""
        try:
            return _Unpickler(self.records[record], self._names, self.tensors).load()
        except Exception:  # whatever the code of its classes raises
            return original


class _Pickler(Pickler):
    given: Given | None = None

    def persistent_id(self, obj: Any) -> Any:
        if self.given is not None:
            self.given.note(obj)
        return super().persistent_id(obj)


class _Unpickler(pickle.Unpickler):
    """Reads a pickle of this process in this process: tensors get memory of their own, names lead to what they came from."""

    def __init__(self, data: bytes, names: Names, tensors: Any) -> None:
        super().__init__(io.BytesIO(data))
        self._names = names
        self._tensors = tensors
        self._copies: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        return self._names.here(module, name)

    def persistent_load(self, saved: Any) -> Any:
        if saved[0] != "storage":
            raise pickle.UnpicklingError(f"{saved[0]} is not made here")
        _, kind, key, _, _ = saved
        if key not in self._copies:
            self._copies[key] = self._tensors.stored.storage(key).clone()
        return self._tensors.typed(kind, self._copies[key])
