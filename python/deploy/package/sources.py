"""Where modules are, and what they have as source, without importing or running anything."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import importlib.util
import os
import pathlib
import sys
import sysconfig


@dataclasses.dataclass(frozen=True)
class Location:
    """A module's file. `file` is None for built-in ones and for namespace packages; `is_package` tells folders from single
    files."""

    file: str | None
    is_package: bool
    search: tuple[str, ...] = ()

    @property
    def is_source(self) -> bool:
        return self.file is not None and self.file.endswith(".py")


def locate(name: str) -> Location | None:
    """Where a module is, loaded or not; None where there is none, or where nobody can tell."""
    try:
        return _locate(name)
    except Exception:  # finders and modules of others may raise anything
        return None


def _locate(name: str) -> Location | None:
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is not None and spec is None:
        file = getattr(module, "__file__", None)
        return Location(file, hasattr(module, "__path__"), tuple(getattr(module, "__path__", ())))
    if spec is None:
        spec = _find_below(name) if "." in name else importlib.util.find_spec(name)
    if spec is None or isinstance(spec, Location):
        return spec
    search = tuple(spec.submodule_search_locations or ())
    return Location(spec.origin if spec.has_location else None, spec.submodule_search_locations is not None, search)


def _find_below(name: str) -> importlib.machinery.ModuleSpec | Location | None:
    parent, _, last = name.rpartition(".")
    above = locate(parent)
    if above is None or not above.search:
        return None
    try:
        return importlib.machinery.PathFinder.find_spec(name, list(above.search))
    except KeyError:  # a namespace package, which looks for its parent in sys.modules
        folders = [os.path.join(folder, last) for folder in above.search]
        return Location(None, True, tuple(folder for folder in folders if os.path.isdir(folder)))


_STANDARD = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
_SITES = {"site-packages", "dist-packages"}


def is_standard(name: str) -> bool:
    """Whether a top-level module is the standard library's: an own file of such a name comes before it."""
    if name not in sys.stdlib_module_names:
        return False
    location = locate(name)
    return location is None or location.file is None or _is_installed(location.file)


def is_inside_an_extension_module(module: str) -> bool:
    """Such as torch._C._nn, which no file has."""
    parent = sys.modules.get(module.rpartition(".")[0])
    return parent is not None and not hasattr(parent, "__path__")


def is_own(module: str) -> bool:
    """Whether a module that is loaded is of the user's own code."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return module == "__main__" or (isinstance(file, str) and not _is_installed(file))


def _is_installed(file: str) -> bool:
    path = pathlib.PurePath(os.path.realpath(file))
    return any(path.is_relative_to(folder) for folder in _STANDARD) or bool(_SITES.intersection(path.parts))


def read_source(name: str, location: Location) -> bytes | None:
    """The text of a module; None where it has none (an extension module, byte code only)."""
    if location.is_source and location.file is not None and os.path.isfile(location.file):
        return pathlib.Path(location.file).read_bytes()
    loader = getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)
    try:
        text = loader.get_source(name) if loader is not None and hasattr(loader, "get_source") else None
    except Exception:  # a loader may raise anything
        return None
    return text.encode() if text is not None else None
