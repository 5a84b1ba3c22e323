"""What is installed: which distribution a module belongs to, and the files that a distribution consists of.

RECORD lists the files of a wheel. Two kinds of installation have none that helps: an editable one, whose RECORD names a
redirection to a source folder, and those of other installers, which write no RECORD at all. Of both, the folders of the top-level
modules are taken whole.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import json
import os
import pathlib
import re
import sys
import urllib.parse
from collections.abc import Iterator
from functools import cached_property

EXTENSION_MODULE = re.compile(r"\.(so|pyd|dylib)(\.\d+)*$")

# Folders of a source tree that are no part of a package.
SKIPPED_FOLDERS = {
    "__pycache__",
    ".git",
    ".hg",
    ".svn",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "node_modules",
    ".ipynb_checkpoints",
}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Distribution:
    """One installed distribution. Files are (path relative to site-packages, where it is)."""

    def __init__(self, metadata: importlib.metadata.Distribution) -> None:
        self._metadata = metadata
        self.name: str = metadata.metadata["Name"]
        self.version: str = metadata.version
        self.base = pathlib.Path(str(metadata.locate_file("")))
        self.python_part = False  # whether `files` is without its extension modules and libraries

    @cached_property
    def _recorded(self) -> list[str] | None:
        """The paths of RECORD."""
        text = self._metadata.read_text("RECORD")
        if text is None:
            return None
        import csv

        return [row[0] for row in csv.reader(text.splitlines()) if row]

    @cached_property
    def editable_root(self) -> pathlib.Path | None:
        """The source folder of an editable installation."""
        text = self._metadata.read_text("direct_url.json")
        url = json.loads(text) if text else {}
        if not url.get("dir_info", {}).get("editable"):
            return None
        return pathlib.Path(urllib.parse.unquote(urllib.parse.urlparse(url["url"]).path)).resolve()

    @cached_property
    def tops(self) -> list[str]:
        """Names of its top-level modules and packages."""
        names: dict[str, None] = {}
        if self.editable_root is None:
            for path in self._recorded or ():
                first, slash, _ = path.partition("/")
                if slash and "." not in first:
                    names[first] = None
                elif not slash and first.endswith(".py"):
                    names[first[:-3]] = None
                elif not slash and EXTENSION_MODULE.search(first):
                    names[first.partition(".")[0]] = None
        if not names:
            text = self._metadata.read_text("top_level.txt") or self._editable_modules() or self.name.replace("-", "_")
            names = dict.fromkeys(text.split())
        names.pop("__pycache__", None)
        return list(names)

    def _editable_modules(self) -> str:
        """The modules that setuptools' redirection names, or those that lie in the folder that a .pth file names."""
        root = self.editable_root
        if root is None:
            return ""
        for path in self._recorded or ():
            file = self.base / path
            if path.endswith("_finder.py") and file.exists():
                mapping = re.search(r"^MAPPING[^=]*= (\{.*?\})", file.read_text(), re.MULTILINE)
                if mapping:
                    return " ".join(re.findall(r"'([^']+)': '", mapping[1]))
            if _is_path_file(path) and file.exists() and pathlib.Path(file.read_text().strip()).is_dir():
                folder = pathlib.Path(file.read_text().strip())
                return " ".join(p.parent.name for p in folder.glob("*/__init__.py"))
        return " ".join(p.parent.name for folder in (root, root / "src") for p in folder.glob("*/__init__.py"))

    @cached_property
    def requirements(self) -> list[str]:
        """Normalized names of what its metadata requires, without extras."""
        found = []
        for requirement in self._metadata.requires or ():
            specifier, _, marker = requirement.partition(";")
            name = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", specifier)
            if name and "extra" not in marker:
                found.append(normalized(name[1]))
        return found

    @property
    def files(self) -> list[tuple[str, pathlib.Path]]:
        """All that a package needs of it: no scripts, no byte code that Python makes anew, no redirections."""
        if not self.python_part:
            return self._files
        return [entry for entry in self._files if not EXTENSION_MODULE.search(entry[0])]

    @cached_property
    def _files(self) -> list[tuple[str, pathlib.Path]]:
        if self._recorded is None or self.editable_root is not None:
            return [*self._tree(), *self._metadata_files()]
        listed = []
        for path in self._recorded:
            if path.startswith(("/", "../")) or _is_path_file(path) or _is_cached(path, self._recorded_set):
                continue
            file = self.base / path
            if file.is_file():
                listed.append((path, file))
        return listed

    def _tree(self) -> Iterator[tuple[str, pathlib.Path]]:
        folders = [str(self.editable_root / "src"), str(self.editable_root)] if self.editable_root else [str(self.base)]
        for top in self.tops:
            spec = importlib.machinery.PathFinder.find_spec(top, [*folders, *sys.path])
            if spec is None:
                continue
            for folder in spec.submodule_search_locations or ():
                yield from ((f"{top}/{inner}", file) for inner, file in folder_files(pathlib.Path(folder)))
            if not spec.submodule_search_locations and spec.origin:
                yield os.path.basename(spec.origin), pathlib.Path(spec.origin)

    def _metadata_files(self) -> Iterator[tuple[str, pathlib.Path]]:
        folder = getattr(self._metadata, "_path", None)
        if folder is None or not os.path.isdir(folder):
            return
        for inner, file in folder_files(pathlib.Path(folder)):
            if inner not in ("RECORD", "direct_url.json"):
                yield f"{os.path.basename(folder)}/{inner}", file

    @cached_property
    def native_files(self) -> list[str]:
        """Its extension modules and libraries, which keep it from being interned."""
        if self._recorded is None or self.editable_root is not None:
            return [path for path, _ in self._files if EXTENSION_MODULE.search(path)]
        return [path for path in self._recorded if EXTENSION_MODULE.search(path)]

    def has_file(self, file: pathlib.Path) -> bool:
        if self.editable_root is not None:
            return file.is_relative_to(self.editable_root)
        if self._recorded is None:
            return file.is_relative_to(self.base)
        return file.is_relative_to(self.base) and file.relative_to(self.base).as_posix() in self._recorded_set

    @cached_property
    def _recorded_set(self) -> frozenset[str]:
        return frozenset(self._recorded or ())


def _is_path_file(path: str) -> bool:
    """Whether Python reads it at its start, for folders of sys.path: it does where it lies right in site-packages. Elsewhere a .pth
    file is data, most often a checkpoint of PyTorch."""
    return path.endswith(".pth") and "/" not in path


def _is_cached(path: str, recorded: frozenset[str]) -> bool:
    """Whether it is byte code that Python makes anew. A module without source has nothing else."""
    return path.endswith(".pyc") and ("/__pycache__/" in f"/{path}" or path[:-1] in recorded)


def folder_files(folder: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """(relative path, file) of all files below a folder, sorted, without caches and version control."""
    for current, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        for name in sorted(names):
            file = pathlib.Path(current, name)
            if not name.endswith(".pyc") and file.is_file():
                yield file.relative_to(folder).as_posix(), file


class Installed:
    """The distributions that this Python sees, the first of each name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Distribution] = {}
        for metadata in importlib.metadata.distributions():
            name = metadata.metadata["Name"] if metadata.metadata else None
            if name and normalized(name) not in self.by_name:
                self.by_name[normalized(name)] = Distribution(metadata)
        self._by_top: dict[str, list[Distribution]] = {}
        for distribution in self.by_name.values():
            for top in distribution.tops:
                self._by_top.setdefault(top, []).append(distribution)

    def with_top(self, top: str) -> list[Distribution]:
        """The distributions that have a top-level module of that name: several share a namespace package."""
        return self._by_top.get(top, [])

    def owner(self, module: str, location: str | None) -> Distribution | None:
        """The distribution that a module belongs to. `location`: its file, or None where it has none."""
        candidates = self.with_top(module.partition(".")[0])
        if location is None:
            return candidates[0] if len(candidates) == 1 else None
        for file in dict.fromkeys((pathlib.Path(os.path.abspath(location)), pathlib.Path(location).resolve())):
            for distribution in candidates:
                if distribution.has_file(file):
                    return distribution
        # Made by its code at run time, or installed by a program that lists no files.
        inside = [d for d in candidates if pathlib.Path(os.path.abspath(location)).is_relative_to(d.base)]
        return inside[0] if len(inside) == 1 and inside[0].editable_root is None else None
