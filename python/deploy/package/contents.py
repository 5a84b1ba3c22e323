"""What is inside a package, read without running anything of it.

The file is read by deploy.PackageReader, as load_package reads it; pickles go through a machine that knows no class and calls no
function (pickle_machine.py). Whatever the file holds, inspect() answers in bounded time and memory, or raises deploy.Error.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from deploy._deploy import ErrorCode, PackageReader, PackageRecord
from deploy._error import Error
from deploy.package.model_tree import Node, tree_of
from deploy.package.pickle_machine import Machine
from deploy.package.pickle_source import Budget, DamagedPickle, Source, TooLarge

_EXTERNS = ".data/extern_modules"
_MOST_EXTERNS = 16 << 20
# A deflated record has to be inflated as a whole; one that is stored is read through a window.
_LARGEST_DEFLATED = 32 << 20


@dataclasses.dataclass(repr=False)
class Contents:
    """inspect()'s answer; str() of it is the text that `python -m deploy inspect` prints.

    manifest   the manifest record, None for a plain torch.package
    externs    the modules that the environment has to have
    pickles    {record: the tree of its object}
    sizes      {record: bytes}
    not_shown  {record: why}: pickles that are too large to be looked into
    """

    path: str
    manifest: dict[str, Any] | None
    externs: list[str]
    pickles: dict[str, Node]
    sizes: dict[str, int]
    not_shown: dict[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        from deploy.package.rendering import render

        return render(self)

    def __repr__(self) -> str:
        return f"<deploy.package.Contents of {self.path!r}: {len(self.sizes)} records>"


def inspect(path: str | os.PathLike[str]) -> Contents:
    """What is inside a package. Nothing of it runs. deploy.Error INVALID_PACKAGE, NOT_FOUND."""
    reader = PackageReader(path)
    reader.check()
    manifest = reader.manifest
    records = reader.records
    contents = Contents(reader.path, manifest, _externs(reader), {}, {record.name: record.size for record in records})
    libraries = tops_of_libraries(manifest)
    budget = Budget()
    for record in records:
        if _is_pickle(record.name) and record.name.partition("/")[0] not in libraries:
            try:
                contents.pickles[record.name] = _tree(reader, record, budget)
            except TooLarge as reason:
                contents.not_shown[record.name] = str(reason)
    return contents


def _is_pickle(record: str) -> bool:
    return record.endswith(".pkl") and "/" in record and not record.startswith(".data/")


def _tree(reader: PackageReader, record: PackageRecord, budget: Budget) -> Node:
    """The tree of a pickle's object. TooLarge; Error INVALID_PACKAGE."""
    if record.deflated and record.size > _LARGEST_DEFLATED:
        raise TooLarge(f"it is deflated, and has more than {_LARGEST_DEFLATED >> 20} MiB")
    if record.deflated:
        data = reader.read(record.name)
        source = Source(lambda begin, size: data[begin : begin + size], len(data))
    else:
        source = Source(lambda begin, size: reader.read(record.name, begin, size), record.size)
    try:
        made = Machine(source, budget).run()
    except DamagedPickle as problem:
        raise Error(
            ErrorCode.INVALID_PACKAGE, f"{reader.path!r} is damaged: record {record.name!r}: no pickle: {problem}"
        ) from None
    return tree_of(record.name.rpartition("/")[2].removesuffix(".pkl"), made)


def _externs(reader: PackageReader) -> list[str]:
    """As load_package reads them: one a line, in UTF-8."""
    try:
        text = reader.read(_EXTERNS, most=_MOST_EXTERNS).decode()
    except UnicodeDecodeError:
        raise Error(ErrorCode.INVALID_PACKAGE, f"{reader.path!r} has a record {_EXTERNS!r} that is not UTF-8 text") from None
    return [name for name in (line.strip(" \t\r") for line in text.split("\n")) if name]


def tops_of_libraries(manifest: dict[str, Any] | None) -> dict[str, str]:
    """Top-level name -> distribution, of the distributions inside."""
    entries = (manifest or {}).get("interned") or ()
    return {top: entry.get("distribution") or top for entry in entries for top in entry.get("modules") or ()}
