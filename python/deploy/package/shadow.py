"""Site-packages folders without some distributions: folders of links to all the rest.

It shows whether a package has what it claims to have inside: the distributions that it interned cannot be found anywhere else.
"""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
from collections.abc import Iterable

from deploy.package.distributions import Distribution, normalized


def without(folders: Iterable[str], distributions: Iterable[str], scratch: pathlib.Path) -> list[str]:
    """The folders, those that have one of the distributions replaced by a copy below `scratch` that lacks it."""
    blocked = {normalized(name) for name in distributions}
    shown = []
    for number, folder in enumerate(folders):
        files: set[str] = set()
        for metadata in importlib.metadata.distributions(path=[os.fspath(folder)]):
            if normalized(metadata.metadata["Name"]) in blocked:
                files |= _files_of(Distribution(metadata), metadata)
        if not files:
            shown.append(os.fspath(folder))
            continue
        copy = scratch / f"site-packages-{number}"
        copy.mkdir()
        _link(pathlib.Path(folder).resolve(), copy, "", _with_folders(files), files)
        shown.append(str(copy))
    return shown


def _files_of(distribution: Distribution, metadata: importlib.metadata.Distribution) -> set[str]:
    files = {path for path, _ in distribution.files}
    folder = getattr(metadata, "_path", None)
    if folder is not None and os.path.isdir(folder):
        files |= {f"{os.path.basename(folder)}/{name}" for name in os.listdir(folder)}
    return files


def _with_folders(files: set[str]) -> set[str]:
    folders = set()
    for file in files:
        parts = file.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    return folders


def _link(source: pathlib.Path, target: pathlib.Path, prefix: str, folders: set[str], files: set[str]) -> None:
    """Links what is in `source` into `target`; only folders that have a blocked file are gone into."""
    for entry in os.scandir(source):
        path = f"{prefix}{entry.name}"
        if path in files or entry.name == "__pycache__":
            continue
        if path not in folders:
            target.mkdir(parents=True, exist_ok=True)
            (target / entry.name).symlink_to(entry.path)
        else:
            _link(pathlib.Path(entry.path), target / entry.name, f"{path}/", folders, files)
