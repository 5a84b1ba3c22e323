"""The importer of packages, inside an interpreter: what torch.package's PackageExporter writes, read without torch
where the package does not need it. What deploy itself writes has a manifest, and its code is unpacked: see tree.py.

Names. Interned code is imported under its own names and is in sys.modules like any other module, because interpreters, not
names, are what isolates packages' users from each other. Only where that would shadow something does a package fall back to
torch.package's way: if one of its top-level names belongs to another open package, is imported already or is installed in
the environment, all its modules are called `<torch_package_N>.name`, and an `__import__` of their own finds them.
Either way a module that is not in the package comes from the environment.

Code that torch.fx generates (`fx-generated._0`) has the same names in every package and is asked for by pickles only, so
it is always imported under mangled names.
"""

import builtins
import gc
import importlib
import importlib.util
import itertools
import linecache
import os
import re
import sys
from importlib._bootstrap import _call_with_frames_removed
from importlib.machinery import ModuleSpec
from types import ModuleType

from _deploy import archive as _archive
from _deploy import externs, guard, resources, unpickle

InvalidPackage = _archive.InvalidPackage

_GENERATED = "fx-generated"
_SELF = "torch_package_importer"

# Far above torch.package's own numbers, which count from 0.
_numbers = itertools.count(1_000_000)

# Top-level name -> what finds its modules: an importer, for `<torch_package_N>` too, or a tree.Unit.
_owners = {}

# Package id -> open importer.
_open = {}


class _Finder:
    """The one entry in sys.meta_path for all packages."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        owner = _owners.get(fullname.partition(".")[0])
        return owner._find_spec(fullname, path) if owner else None

    @staticmethod
    def invalidate_caches():
        pass


def find_elsewhere(name, path=None):
    """The spec of a module that no package has, without importing anything; None where there is none."""
    for finder in sys.meta_path:
        if finder is _Finder or not hasattr(finder, "find_spec"):
            continue
        spec = find_by(finder.find_spec, name, path)
        if spec is not None:
            return spec
    return None


def find_by(find_spec, name, path):
    """find_spec(name, path), for a module whose parent may not have been imported: a namespace package asks its parent for
    its folders, which is a KeyError then."""
    try:
        return find_spec(name, path)
    except KeyError:
        spec = ModuleSpec(name, None, is_package=True)
        folders = [os.path.join(folder, name.rpartition(".")[2]) for folder in path or ()]
        spec.submodule_search_locations = [folder for folder in folders if os.path.isdir(folder)]
        return spec


class _NothingThere:
    """The finder of the paths that modules out of package files have. There are no folders, and without it Python's zipimport would
    look into the package file by itself."""

    def find_spec(self, fullname, target=None):
        return None

    def invalidate_caches(self):
        pass


def _path_hook(path):
    if any(_is_below(path, importer.filename) for importer in _open.values()):
        return _NothingThere()
    raise ImportError("not the path of a package file", path=path)


def _is_below(path, filename):
    return path == filename or path.startswith(filename + "/")


def locations(spec):
    """Where the submodules of a package lie; None for a module that is none. A namespace package that is asked looks anew, and
    needs its parent in sys.modules for that: what was found is taken."""
    found = spec.submodule_search_locations
    return None if found is None else list(getattr(found, "_path", found))


def missing_modules(names):
    """Those of `names` that the environment does not have. Nothing is imported: the names are a file's that nobody vouched for."""
    return [name for name in names if not _has_module(name)]


def _has_module(name):
    if sys.modules.get(name) is not None and name.partition(".")[0] not in _owners:
        return True
    path = spec = None
    parent = ""
    for part in name.split("."):
        full = f"{parent}.{part}" if parent else part
        loaded = sys.modules.get(full)
        if loaded is not None and parent:
            # Not by getattr, which may run code of the module.
            namespace = object.__getattribute__(loaded, "__dict__") if isinstance(loaded, ModuleType) else {}
            parent, path, spec = full, namespace.get("__path__"), namespace.get("__spec__")
            continue
        found = find_elsewhere(full, path) if not parent or path is not None else None
        if found is None:
            return bool(parent) and _may_make(spec, path, part)
        parent, path, spec = full, locations(found), found
    return True


def _may_make(spec, path, name):
    """Whether a module may make one called `name` when it runs, like torch._C makes torch._C._nn. A module that is no package may:
    it is the only way to have any inside. A package may if its source has the name."""
    if path is None:
        return True
    loader, origin = getattr(spec, "loader", None), getattr(spec, "origin", None)
    if not hasattr(loader, "get_data") or not isinstance(origin, str) or not origin.endswith(".py"):
        return False
    try:
        source = loader.get_data(origin)
    except OSError:
        return False
    return re.search(rb"\b" + re.escape(name.encode()) + rb"\b", source) is not None


class PackageImporter:
    """torch.package.PackageImporter's interface over a package file. `package_id` is the host's number for it; `externs`, an
    externs.Allowed, says what it may import from the environment (None: everything)."""

    def __init__(self, archive, package_id=-1, externs=None):
        self.archive = archive
        self.externs = externs
        self.guard = None if externs is None else guard.Guard(self, externs)
        self.package_id = package_id
        self.filename = archive.path
        self._prefix = f"<torch_package_{next(_numbers)}>"
        # As the host splits it, which has checked the names: other characters than these separate nothing.
        lines = [line.strip(" \t\r") for line in archive.read(".data/extern_modules").decode().split("\n")]
        self.extern_modules = [line for line in lines if line]  # no externs: one empty line
        self._sources = {}  # module name -> its record, or None for a package without __init__.py
        self._packages = set()
        self._scan()
        self._load = None  # the load_pickle that runs
        self._zip_reader = None
        self._claim()

    def _scan(self):
        externs = set(self.extern_modules)
        for record in self.archive.names():
            *folders, file = record.split("/")
            if folders and folders[0] == ".data":
                continue
            for depth in range(1, len(folders) + 1):
                package = ".".join(folders[:depth])
                if package in externs:
                    raise InvalidPackage(
                        f"package {self.filename!r} has a file {record!r} inside module {package!r}, which is extern"
                    )
                self._packages.add(package)
                self._sources.setdefault(package, None)
            if file == "__init__.py" and folders:
                self._sources[".".join(folders)] = record
            elif file.endswith(".py"):
                self._sources.setdefault(".".join([*folders, file[:-3]]), record)
        for name in self._packages:
            source = self._sources[name]
            if source is not None and not source.endswith("/__init__.py"):
                raise InvalidPackage(f"package {self.filename!r} has both a module {source!r} and a folder of that name")

    def _claim(self):
        """Decides under which names the code is imported (see the module's text), and takes them."""
        tops = {name.partition(".")[0] for name in self._sources} - {_GENERATED}
        self._code_tops = {name.partition(".")[0] for name, source in self._sources.items() if source} - {_GENERATED}
        taken = {top for top in tops if top in _owners or top in sys.modules or find_elsewhere(top) is not None}
        self.mangled = bool(taken & self._code_tops)
        # Files of mangled modules need names of their own too, for tracebacks; these are torch.package's.
        self._base = f"{self._prefix}." if self.mangled else f"{self.filename}/"
        _owners[self._prefix] = self
        if not self.mangled:
            # A folder of data only never shadows anything; load_text and the like read it by its path.
            _owners.update(dict.fromkeys(tops - taken, self))
        if _Finder not in sys.meta_path:
            sys.meta_path.insert(0, _Finder)

    def close(self):
        """Gives the names back. Objects that are alive keep working as far as they import nothing more. Returns whether modules
        left."""
        for top in [top for top, owner in _owners.items() if owner is self]:
            del _owners[top]
        names = [name for name, module in sys.modules.items() if getattr(getattr(module, "__spec__", None), "loader", None) is self]
        for name in names:
            linecache.cache.pop(sys.modules.pop(name).__dict__.get("__file__"), None)
        _open.pop(self.package_id, None)
        for path in [path for path in sys.path_importer_cache if isinstance(path, str) and _is_below(path, self.filename)]:
            del sys.path_importer_cache[path]
        return bool(names)

    # Names.

    def importer(self):
        return self

    def owns(self, name):
        """Whether the package has a module of that (unmangled) name."""
        return name in self._sources

    def is_inside(self, name):
        """Whether an import of that (unmangled) name is answered by the package. A folder of data is no module of it where the
        environment has the name."""
        top = name.partition(".")[0]
        return top in self._code_tops if self.mangled else _owners.get(top) is self

    def is_namespace(self, name):
        """Whether a module that is inside is a namespace package, of which the environment may have parts."""
        return False

    def has_module(self, module):
        """Whether a module object is the package's."""
        return getattr(getattr(module, "__spec__", None), "loader", None) is self

    def demangle(self, name):
        if name == self._prefix:
            return ""
        return name[len(self._prefix) + 1 :] if name.startswith(self._prefix + ".") else name

    def _import_name(self, name):
        """The name in sys.modules of the package's own module `name`."""
        return f"{self._prefix}.{name}" if self.mangled or name.partition(".")[0] == _GENERATED else name

    def import_module(self, name, package=None):
        name = self.demangle(name)
        if name == _SELF:
            return self
        if not self.owns(name):
            if self.guard is not None:
                self.guard.check(name)
            return importlib.import_module(name)
        import_name = self._import_name(name)
        if _owners.get(import_name.partition(".")[0]) is not self:
            return self._detached_folder(name)
        return importlib.import_module(import_name)

    def _detached_folder(self, name):
        # A folder of data whose name the environment has: only its resources are meant.
        spec = ModuleSpec(name, self, origin=self._origin(name), is_package=True)
        return importlib.util.module_from_spec(spec)

    def _import_hook(self, name, globals=None, locals=None, fromlist=(), level=0):
        """`__import__` of mangled modules, of those that ask for the package itself, and where externs are restricted."""
        if level == 0 and name == _SELF:
            return self
        if self.guard is None or not isinstance(name, str):
            return self._import(name, globals, locals, fromlist, level)
        fromlist = tuple(fromlist or ())
        absolute = self.guard.check_import(name, globals, fromlist, level)
        if fromlist:  # with it, a relative name means no more than the absolute one
            name, level = absolute, 0
        module = self._import(name, globals, locals, fromlist, level)
        self.guard.check_items(module, [item for item in fromlist if isinstance(item, str) and item != "*"])
        return module

    def _import(self, name, globals, locals, fromlist, level):
        top = name.partition(".")[0] if isinstance(name, str) else ""
        if level or not self.mangled or top not in self._code_tops:
            return builtins.__import__(name, globals, locals, fromlist, level)
        # An extern module may lie in an interned package: the package's own module gets it as an attribute.
        for extern in [name, *(f"{name}.{item}" for item in fromlist or () if isinstance(item, str))]:
            parent, _, last = extern.rpartition(".")
            if extern in self.extern_modules and self.owns(parent):
                setattr(self.import_module(parent), last, self._import_extern(extern))
        if not self.owns(name) and name in self.extern_modules:
            return self._import_extern(name) if fromlist else self.import_module(top)
        module = builtins.__import__(f"{self._prefix}.{name}", globals, locals, fromlist, 0)
        return module if fromlist else self.import_module(top)

    def _import_extern(self, name):
        if self.externs is not None:
            self.externs.check(name, self.filename)
        return importlib.import_module(name)

    # The loader and finder protocols.

    def _origin(self, name):
        return self._base + (self._sources[name] or name.replace(".", "/"))

    def _find_spec(self, fullname, path=None):
        name = self.demangle(fullname)
        if name == "":
            return ModuleSpec(fullname, self, is_package=True)
        if name not in self._sources:
            return None
        is_package = name in self._packages
        origin = self._origin(name)
        spec = ModuleSpec(fullname, self, origin=origin, is_package=is_package)
        if is_package:
            spec.submodule_search_locations.append(self._base + name.replace(".", "/"))
        spec.has_location = self._sources[name] is not None  # sets __file__
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = self.demangle(module.__spec__.name)
        source = self.get_data_of(name)
        namespace = module.__dict__
        namespace["__torch_package__"] = True
        if source is None:
            return
        if self.mangled or self.externs is not None or _SELF.encode() in source:
            namespace["__builtins__"] = {**builtins.__dict__, "__import__": self._import_hook}
        linecache.lazycache(module.__file__, namespace)
        _call_with_frames_removed(exec, self._compile(source, module.__file__), namespace)
        torch_importer = sys.modules.get("torch.package.package_importer")
        if self.mangled and torch_importer is not None:
            # torch.compile looks mangled names up in torch.package's own table.
            torch_importer._package_imported_modules[module.__name__] = module

    @staticmethod
    def _compile(source, filename):
        return compile(source, filename, "exec", dont_inherit=True)

    def get_data_of(self, name):
        """The source of the package's module `name` as bytes, or None where it has none."""
        record = self._sources.get(name)
        return None if record is None else self.archive.read(record)

    def get_source(self, fullname):
        source = self.get_data_of(self.demangle(fullname))
        return None if source is None else importlib.util.decode_source(source)

    def get_code(self, fullname):
        source = self.get_data_of(self.demangle(fullname))
        return self._compile(source or b"", self.get_filename(fullname))

    def get_filename(self, fullname):
        name = self.demangle(fullname)
        if name not in self._sources:
            raise ImportError(f"no module {name!r} in package {self.filename!r}", name=fullname)
        return self._origin(name)

    def is_package(self, fullname):
        return self.demangle(fullname) in self._packages

    def get_data(self, path):
        return self.archive.read(path.removeprefix(self._base))

    def get_resource_reader(self, fullname):
        name = self.demangle(fullname)
        return resources.Reader(self.archive, name.replace(".", "/")) if name in self._packages else None

    # Data.

    def _record(self, package, resource):
        name = self.demangle(package if isinstance(package, str) else package.__name__)
        if "/" in resource:
            raise ValueError(f"{resource!r} must be only a file name")
        return f"{name.replace('.', '/')}/{resource}" if name else resource

    def load_binary(self, package, resource):
        return self.archive.read(self._record(package, resource))

    def load_text(self, package, resource, encoding="utf-8", errors="strict"):
        return self.load_binary(package, resource).decode(encoding, errors)

    def load_pickle(self, package, resource, map_location=None):
        data = self.load_binary(package, resource)
        outer, self._load = self._load, unpickle.Load(self, map_location)
        try:
            return self._load.run(data)
        finally:
            self._load = outer

    def python_version(self):
        record = ".data/python_version"
        return self.archive.read(record).decode().strip() if record in self.archive else None

    def id(self):
        return self._prefix

    def file_structure(self, *, include="**", exclude=()):
        from torch.package.file_structure_representation import _create_directory_from_file_list

        return _create_directory_from_file_list(self.filename, self.archive.names(), include, exclude)

    # What the functions that torch puts into pickles ask of an importer.

    @property
    def zip_reader(self):
        if self._zip_reader is None:
            import torch

            self._zip_reader = torch._C.PyTorchFileReader(f"/proc/self/fd/{self.archive.fd}")
        return self._zip_reader

    @property
    def storage_context(self):
        return self._load.storage_context() if self._load else None

    @property
    def last_map_location(self):
        return self._load.map_location if self._load else None


class Handle:
    """The host's reference to an open package: dropping it closes the package."""

    def __init__(self, importer):
        self.importer = importer

    def load_pickle(self, package, resource):
        return self.importer.load_pickle(package, resource)

    def load_binary(self, package, resource):
        return self.importer.load_binary(package, resource)

    def __del__(self):
        if sys.meta_path is not None and self.importer.close():  # None: the interpreter is being finalised
            # Modules refer to themselves, by way of their functions: only the collector takes them, with all that hangs on them.
            gc.collect()


def open(package_id, fd, path, records, weights_fd=None, allowed=None, units=None):
    """Opens a package for the host, which has parsed it (see Archive). `allowed`: patterns of externs. `units`, of a package with a
    manifest: a list of (key, folder, top-level names) of its unpacked code."""
    archive = _archive.Archive(fd, path, records, weights_fd)
    restriction = None if allowed is None else externs.Allowed(allowed)
    if units is None:
        importer = PackageImporter(archive, package_id, restriction)
    else:
        from _deploy import tree

        importer = tree.TreeImporter(archive, package_id, restriction, units)
    _open[package_id] = importer
    if _path_hook not in sys.path_hooks:
        sys.path_hooks.insert(0, _path_hook)
    return Handle(importer)


def opened(package_id):
    return _open[package_id]


def owner_of(module_name):
    """The importer that a module belongs to, or None."""
    owner = _owners.get(module_name.partition(".")[0]) if isinstance(module_name, str) else None
    importer = owner.importer() if owner is not None else None
    return importer if importer is not None and importer.owns(importer.demangle(module_name)) else None
