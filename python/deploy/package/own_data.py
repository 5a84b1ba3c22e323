"""The data files that travel with own code.

The folder of a package is the package's, so all in it goes. A single module lies among all sorts of files, of which it needs those
that its source names beside `__file__`: "vocab.txt", or "data" and "vocab.txt".
"""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

from deploy.package.distributions import EXTENSION_MODULE, SKIPPED_FOLDERS

# An own data file above this size is rather a checkpoint than a part of the code.
LIMIT = 64 << 20

_DEPTH = 4  # folders that a source names one by one
_OF_THE_FORMAT = {"byteorder", "version"}  # records of the container


def below(folder: pathlib.Path, prefix: str) -> Iterator[tuple[str, pathlib.Path]]:
    """(record, file) of the data in a package's folder, without what is in packages inside it."""
    pending = [folder]
    while pending:
        for entry in sorted(pending.pop().iterdir()):
            if not _is_hidden(entry.name) and entry.is_dir():
                if not (entry / "__init__.py").exists():
                    pending.append(entry)
            elif _is_data(entry):
                yield f"{prefix}/{entry.relative_to(folder).as_posix()}", entry


def mentioned(source: bytes, folder: pathlib.Path, prefix: str = "") -> Iterator[tuple[str, pathlib.Path]]:
    """(record, file) of what the source of a module in `folder` names: files, and all in folders of which it names no file. Of a
    folder that is above the limit as a whole there is the folder."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return
    if not any(isinstance(node, ast.Name) and node.id == "__file__" for node in nodes):
        return
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = sorted(filter(_is_inner_path, (text.lstrip("/") for text in texts)))
    for record, file in _named(folder, folder, names, _DEPTH):
        yield f"{prefix}{record}", file


def _named(folder: pathlib.Path, root: pathlib.Path, names: list[str], depth: int) -> Iterator[tuple[str, pathlib.Path]]:
    for name in names:
        path = folder / name
        if _is_data(path):
            record = path.relative_to(root).as_posix()
            if record not in _OF_THE_FORMAT:
                yield record, path
        elif depth and path.is_dir() and not (path / "__init__.py").exists():
            yield from list(_named(path, root, names, depth - 1)) or _whole(path, root)


def _whole(folder: pathlib.Path, root: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    record = folder.relative_to(root).as_posix()
    found = list(below(folder, record))
    return found if sum(file.stat().st_size for _, file in found) <= LIMIT else [(record, folder)]


def _is_inner_path(text: str) -> bool:
    if not text or len(text) > 255 or not text.isprintable():
        return False
    return all(part and not _is_hidden(part) for part in text.rstrip("/").split("/"))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in SKIPPED_FOLDERS


def _is_data(path: pathlib.Path) -> bool:
    return (
        not _is_hidden(path.name)
        and path.suffix not in (".py", ".pyc")
        and not EXTENSION_MODULE.search(path.name)
        and path.is_file()
    )
