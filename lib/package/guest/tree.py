"""Packages with a manifest: their code lies in folders, as it would in site-packages, and is imported from there.

The host unpacks it (lib/package/tree_cache.h) in units: each distribution that travels in the package is one, all modules of its
own are another. Modules have their own names, are in sys.modules, and have real files beside them; the units' folders are on
sys.path, so that importlib.resources, importlib.metadata, pkgutil and whatever else looks there find them. In front of it all
stands the finder of package.py: a unit's top-level names are the unit's, whatever the environment has.

The code of a verified package is imported from the bytes that were verified, not from the folder: see verified_code.py.

A unit that is in several open packages is one set of modules. When the last of these is closed its modules leave, unless modules of
the environment refer to them (torch.hub has `from tqdm import tqdm`): then it stays as it is, for the next package with it.
Different code of one name is never in one interpreter: the host asks conflicts() in all interpreters of a set before it opens the
package in any of them, and takes another set otherwise.
"""

import builtins
import functools
import importlib
import linecache
import os
import sys
from importlib.machinery import PathFinder, SourceFileLoader, SourcelessFileLoader
from types import FunctionType

from _deploy import package as _package
from _deploy import registries, verified_code

# Key -> unit that is in this interpreter.
_units = {}


@functools.cache
def _loader_of(base):
    """The loader of a unit's modules: the one that such files have in this interpreter. Byte code is kept beside the sources."""

    class Loader(base):
        def __init__(self, name, path, unit):
            super().__init__(name, path)
            self._unit = unit

        def exec_module(self, module):
            self._unit.prepare(module, self)
            super().exec_module(module)

    return Loader


@functools.cache
def _find_verified_code():
    verified_code.install(_units)


class Unit:
    """One unpacked unit. `verified`, of a verified package: (names of its files, descriptor of the store of byte code)."""

    def __init__(self, key, folder, tops, verified=None):
        self.key = key
        self.folder = folder
        self.tops = frozenset(tops)
        self.users = []  # the open packages with it
        self.code = None if verified is None else verified_code.Code(self, *verified)
        # The other kind is that of a package's own modules.
        self.is_distribution = any(name.endswith((".dist-info", ".egg-info")) for name in os.listdir(folder))

    def importer(self):
        """One of the open packages with it, or None."""
        return self.users[0] if self.users else None

    def add(self, importer):
        if self.key not in _units:
            registries.remember()
            if self.code is not None:
                _find_verified_code()
            _units[self.key] = self
            _package._owners.update(dict.fromkeys(self.tops, self))
            sys.path.insert(0, self.folder)
        self.users.append(importer)
        if self.code is not None:
            self.code.read_from(self.users[0].archive)

    def drop(self, importer):
        self.users.remove(importer)
        if self.code is not None and self.users:
            self.code.read_from(self.users[0].archive)

    def leave(self):
        """Takes the modules out. Returns whether there were any."""
        del _units[self.key]
        for top in self.tops:
            if _package._owners.get(top) is self:
                del _package._owners[top]
        sys.path[:] = [folder for folder in sys.path if folder != self.folder]
        for folder in [folder for folder in sys.path_importer_cache if self.has_path(folder)]:
            del sys.path_importer_cache[folder]
        names = [name for name, module in sys.modules.items() if self.has_module(name, module)]
        for name in names:
            del sys.modules[name]
        for file in [file for file in linecache.cache if self.has_path(file)]:
            del linecache.cache[file]
        if names:
            registries.forget(self.tops)
        return bool(names)

    def has_path(self, path):
        return isinstance(path, str) and (path == self.folder or path.startswith(self.folder + os.sep))

    def has_module(self, name, module):
        if name.partition(".")[0] not in self.tops:
            return False
        file = getattr(module, "__file__", None)
        if file is not None:
            return self.has_path(file)
        path = getattr(module, "__path__", None)  # a namespace package may have parts elsewhere
        return path is None or not list(path) or any(map(self.has_path, path))

    # Imports.

    def _find_spec(self, fullname, path):
        spec = PathFinder.find_spec(fullname, [self.folder] if path is None else path)
        if path is None and spec is not None and spec.loader is None:
            # A namespace package: the environment may have other parts of it.
            whole = PathFinder.find_spec(fullname, [self.folder, *sys.path])
            spec = whole if whole is not None and whole.loader is None else spec
        is_plain = spec is not None and isinstance(spec.loader, SourceFileLoader | SourcelessFileLoader)
        if is_plain and self.code is None and self.has_path(spec.origin):
            spec.loader = _loader_of(type(spec.loader))(fullname, spec.origin, self)
        return spec

    def is_inside(self, name):
        """Whether an import of `name`, whose top is the unit's, is answered by the unit; `name` may lie in a namespace package of
        which the environment has parts."""
        return self._look(name) is not None

    def is_namespace(self, name):
        return self._look(name) == "namespace"

    def _look(self, name):
        """ "module", "namespace", or None: the environment's."""
        path, full = None, ""
        for part in name.split("."):
            full = f"{full}.{part}" if full else part
            spec = _package.find_by(self._find_spec, full, path)
            if spec is None:
                loaded = sys.modules.get(full)
                return "module" if loaded is None or self.has_module(full, loaded) else None
            if spec.loader is not None:
                return "module" if self.has_path(spec.origin) else None
            path = _package.locations(spec)
        return "namespace"

    def prepare(self, module, loader):
        namespace = module.__dict__
        namespace["__torch_package__"] = True
        importer = self.importer()
        if importer is None:
            return
        if importer.externs is not None or (not self.is_distribution and _package._SELF.encode() in loader.get_data(loader.path)):
            namespace["__builtins__"] = {**builtins.__dict__, "__import__": importer._import_hook}


class TreeImporter(_package.PackageImporter):
    """The importer of a package with a manifest. `units` is a list of the arguments of Unit."""

    def __init__(self, archive, package_id, externs, units):
        self._units = [_units.get(unit[0]) or Unit(*unit) for unit in units]
        self._tops = frozenset().union(*(unit.tops for unit in self._units))
        super().__init__(archive, package_id, externs)

    def _scan(self):
        # Only what torch.fx generated is imported out of the file itself.
        for record in self.archive.names():
            if record.startswith(_package._GENERATED + "/") and record.endswith(".py"):
                self._packages.add(_package._GENERATED)
                self._sources.setdefault(_package._GENERATED, None)
                self._sources[record[:-3].replace("/", ".")] = record

    def _claim(self):
        self.mangled = False
        self._code_tops = frozenset()
        self._base = f"{self.filename}/"
        _package._owners[self._prefix] = self
        for unit in self._units:
            unit.add(self)
        if _package._Finder not in sys.meta_path:
            sys.meta_path.insert(0, _package._Finder)

    def close(self):
        left = super().close()
        for unit in self._units:
            unit.drop(self)
        for unit in _unreferenced({unit for unit in _units.values() if not unit.users}):
            left = unit.leave() or left
        return left

    def owns(self, name):
        return name in self._sources or name.partition(".")[0] in self._tops

    def _unit_of(self, name):
        top = name.partition(".")[0]
        return next((unit for unit in self._units if top in unit.tops), None)

    def is_inside(self, name):
        unit = self._unit_of(name)
        return super().is_inside(name) if unit is None else unit.is_inside(name)

    def is_namespace(self, name):
        unit = self._unit_of(name)
        return unit is not None and unit.is_namespace(name)

    def has_module(self, module):
        unit = self._unit_of(module.__name__)
        return super().has_module(module) or (unit is not None and unit.has_module(module.__name__, module))

    def import_module(self, name, package=None):
        name = self.demangle(name)
        if name.partition(".")[0] in self._tops:
            if self.guard is not None:
                self.guard.check(name)
            return importlib.import_module(name)
        return super().import_module(name, package)


def _unreferenced(units):
    """Those of `units` to which no module refers that is in none of them."""
    while units:
        by_top = {top: unit for unit in units for top in unit.tops}
        by_module, others = {}, []
        for name, module in list(sys.modules.items()):
            unit = by_top.get(name.partition(".")[0])
            if unit is not None and unit.has_module(name, module):
                by_module[id(module)] = unit
            else:
                others.append(module)
        referred = set()
        for module in others:
            for value in list(getattr(module, "__dict__", {}).values()):
                referred.add(by_module.get(id(value)) or by_top.get(_top_of_definition(value)))
        if referred.isdisjoint(units):
            break
        units = units - referred
    return units


def _top_of_definition(value):
    """The top-level name of the module that a class or function is of; None for anything else."""
    # By its true type: objects may pretend to another class, and warn when they are asked.
    if type(value) is FunctionType:
        module = value.__module__
    elif issubclass(type(value), type):
        module = value.__dict__.get("__module__")
    else:
        return None
    return module.partition(".")[0] if isinstance(module, str) else None


def unit_folders():
    return {unit.folder for unit in _units.values()}


def conflicts(units, externs):
    """Why a package with these units, that takes `externs` from the environment, cannot be opened here; empty where it can."""
    found = []
    tops_of_externs = _tops(externs)
    users = {}  # top-level name that an open package takes from the environment -> the package
    for each in _package._open.values():
        users.update(dict.fromkeys(_tops(each.extern_modules), each.filename))
    for key, _, tops, verified in units:
        unit = _units.get(key)
        if unit is not None:
            # Its modules came out of the folder, byte code included, which a verified package does not rely on.
            if verified is not None and unit.code is None:
                found.append(f"module {min(unit.tops, default='')!r} belongs to {_describe(unit)}, which was not verified")
            continue
        for top in tops:
            owner = _package._owners.get(top)
            module = sys.modules.get(top)
            if owner is not None:
                found.append(f"module {top!r} belongs to {_describe(owner)}")
            elif top in sys.modules:
                origin = getattr(module, "__file__", None) or "the interpreter"
                found.append(f"module {top!r} is imported already, from {origin}")
            elif top in users:
                found.append(f"package {users[top]!r} takes module {top!r} from the environment")
    for top in tops_of_externs:
        if top in _package._owners:
            found.append(f"module {top!r} belongs to {_describe(_package._owners[top])}")
    return found


def _describe(owner):
    importer = owner.importer()
    return "a package that was dropped, and is still referred to" if importer is None else f"package {importer.filename!r}"


def _tops(names):
    return {name.partition(".")[0] for name in names}
