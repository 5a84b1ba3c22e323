"""The tree of a model, out of the stand-ins that pickle_machine.py makes of its pickle.

Each object is looked into once, where it is met first. No recursion: models are nested more deeply than Python goes, and pickles of
strangers as deeply as they like.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from deploy.package.pickle_source import TooLarge
from deploy.package.pickle_values import Sequence, StandIn, Table, TensorInfo, Tuple, is_part

_PARTS_OF_A_MODULE = ("_parameters", "_buffers", "_modules")
_MOST_STEPS = 6_000_000
_MOST_KEPT = 400_000  # nodes and tensors
_DEEPEST = 10_000


@dataclasses.dataclass(eq=False)
class Node:
    """A part of a model: its attribute name, the name of its class, tensors of its own, and parts. `nbytes` is the size of all
    tensors below, those that share a record counted once."""

    name: str
    kind: str
    tensors: list[tuple[str, TensorInfo]] = dataclasses.field(default_factory=list)
    parts: list[Node] = dataclasses.field(default_factory=list)
    nbytes: int = 0

    def all_tensors(self, prefix: str = "") -> Iterator[tuple[str, TensorInfo]]:
        """Those below, with the path to each."""
        waiting = [(self, prefix)]
        while waiting:
            node, before = waiting.pop()
            for name, tensor in node.tensors:
                yield f"{before}{name}", tensor
            waiting += [(part, f"{before}{part.name}.") for part in reversed(node.parts)]

    def count_tensors(self) -> int:
        """How many there are below."""
        count, waiting = 0, [self]
        while waiting:
            node = waiting.pop()
            count += len(node.tensors)
            waiting += node.parts
        return count

    def __repr__(self) -> str:
        return f"<Node {self.name!r}: {self.kind!r}, {len(self.tensors)} tensors, {len(self.parts)} parts>"


def tree_of(name: str, value: Any) -> Node:
    """The tree of what a Machine made. TooLarge."""
    return _Walk().run(name, value)


class _Visit:
    __slots__ = ("children", "node", "sizes", "value")

    def __init__(self, name: str, value: Any, children: Iterator[tuple[str, Any]]) -> None:
        self.node = Node(name, _kind(value))
        self.value = value
        self.children = children
        self.sizes: dict[str, int] = {}  # record -> bytes, of the tensors below

    def add(self, key: str, tensor: TensorInfo) -> None:
        self.node.tensors.append((key, tensor))
        self.sizes[tensor.record] = max(tensor.nbytes, self.sizes.get(tensor.record, 0))

    def finish(self) -> None:
        self.node.nbytes = sum(self.sizes.values())

    def take_sizes(self, below: dict[str, int]) -> None:
        large, small = (self.sizes, below) if len(self.sizes) >= len(below) else (below, self.sizes)
        for record, size in small.items():
            large[record] = max(size, large.get(record, 0))
        self.sizes = large


class _Walk:
    def __init__(self) -> None:
        self._steps = self._kept = 0
        self._seen: set[int] = set()
        self._modules: dict[int, bool] = {}  # id of a stand-in -> whether it is a torch module

    def run(self, name: str, value: Any) -> Node:
        visits = [_Visit(name, value, self._children(value))]
        self._seen.add(id(value))
        while True:
            visit = visits[-1]
            found = next(visit.children, None)
            if found is None:
                visit.finish()
                visits.pop()
                if not visits:
                    return visit.node
                self._keep(visits[-1], visit.node, visit.value)
                visits[-1].take_sizes(visit.sizes)
                continue
            key, child = found
            if isinstance(child, TensorInfo):
                visit.add(key, child)
                self._count_kept()
            elif id(child) in self._seen:
                self._keep(visit, Node(key, _kind(child)), child)
            else:
                self._seen.add(id(child))
                visits.append(_Visit(key, child, self._children(child)))
                if len(visits) > _DEEPEST:
                    raise TooLarge(f"it is nested more than {_DEEPEST:,} levels deep")

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise TooLarge("it has too many parts")

    def _count_kept(self) -> None:
        self._kept += 1
        if self._kept > _MOST_KEPT:
            raise TooLarge("it has too many parts")

    def _keep(self, visit: _Visit, part: Node, value: Any) -> None:
        """Adds a part to its node, unless nothing is in it that anybody asks for."""
        if part.tensors or part.parts or self._is_module(value):
            visit.node.parts.append(part)
            self._count_kept()

    def _is_module(self, value: Any) -> bool:
        if not isinstance(value, StandIn):
            return False
        if id(value) not in self._modules:
            self._modules[id(value)] = any(key == "_modules" for key, _ in self._parts(value.state))
        return self._modules[id(value)]

    def _parts(self, value: Any) -> Iterator[tuple[str, Any]]:
        """What is in a container, by name."""
        for key, child in value.parts() if isinstance(value, _CONTAINERS) else ():
            self._step()
            yield key if type(key) is str else _key(key), child

    def _children(self, value: Any) -> Iterator[tuple[str, Any]]:
        """What is in a value, by name: of a module what its tables have, then the rest of its state."""
        if not isinstance(value, StandIn):
            yield from self._parts(value)
            return
        if isinstance(value.state, Table):
            tables = {key: child for key, child in self._parts(value.state) if key in _PARTS_OF_A_MODULE}
            for table in _PARTS_OF_A_MODULE:
                yield from self._parts(tables.get(table))
            yield from ((key, child) for key, child in self._parts(value.state) if key not in _PARTS_OF_A_MODULE)
        elif is_part(value.state):
            yield "state", value.state
        for more in (value.args, value.items, value.pairs):
            yield from self._parts(more)


_CONTAINERS = (Sequence, Tuple, Table)


def _kind(value: Any) -> str:
    return value.kind if isinstance(value, (*_CONTAINERS, StandIn)) else type(value).__name__


def _key(key: Any) -> str:
    return str(key) if isinstance(key, (int, float, bool, type(None))) else f"<{_kind(key)}>"
