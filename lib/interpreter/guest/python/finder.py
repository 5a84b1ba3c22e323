"""Imports the standard library out of the image.

Three things make up an import system that other code can work with: a meta-path finder, which comes before the files of
sys.path; a path hook, so that what walks a package's __path__ (pkgutil, importlib.machinery.PathFinder) finds its way; and a
loader with everything that a loader of source files has, so that tracebacks, inspect and importlib.resources do too.

It is executed before any other module can be imported from the image: it imports only what CPython has built in.

Its frames are hidden as those of importlib are: from the traceback of an import that fails, and from what warnings count as callers
(`stacklevel`). CPython knows importlib's frames by the name of the file in their code, so compile_modules.py gives that name to the
code of this module, and to the functions of others that stand in an import (HIDDEN_FUNCTIONS there). A function that executes a
module does so by importlib's _call_with_frames_removed, at which CPython sees where importlib ends.
"""

import _imp
import sys
from _frozen_importlib import FrozenImporter, ModuleSpec
from _frozen_importlib_external import (
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from _imp import _fix_co_filename

import _deploy_bytecode
import _deploy_image

IMAGE = "<image>"
# Modules of the standard library in which adjustments.py changes a word.
_ADJUSTED = frozenset(
    (
        "asyncio.events",
        "dataclasses",
        "inspect",
        "multiprocessing.forkserver",
        "multiprocessing.resource_tracker",
        "multiprocessing.spawn",
        "subprocess",
        "threading",
    )
)
STDLIB = f"{IMAGE}/python{sys.version_info.major}.{sys.version_info.minor}"
_DYNLOAD = "lib-dynload/"


def read(path):
    """The bytes of a file, by its path below STDLIB."""
    index = _deploy_image.find(path)
    if index < 0:
        raise FileNotFoundError(2, "No such file in the interpreter image", f"{STDLIB}/{path}")
    packed, size = _deploy_image.content(index)
    if not size:
        return b""
    import zlib

    return zlib.decompress(packed, bufsize=size)


def _locate(name):
    """(path, index, is it a package) of a module, or None."""
    stem = name.replace(".", "/")
    for path, is_package in ((f"{stem}/__init__.py", True), (f"{stem}.py", False)):
        index = _deploy_image.find(path)
        if index >= 0:
            return path, index, is_package
    return None


class PackageLoader(SourceFileLoader):
    """The loader of source files in the folders of sys.path: importlib's, with a shorter way to byte code that is up to date."""

    def get_code(self, name):
        path = self.get_filename(name)
        code = None
        if sys.pycache_prefix is None and sys.flags.optimize == 0:
            code = _deploy_bytecode.load(path)
        if code is None:
            return super().get_code(name)
        _fix_co_filename(code, path)
        return code


class ImageLoader(SourceFileLoader):
    """The loader of a module of the archive: that of a source file, with the archive for a file system. `__cached__` is the path
    that importlib would give it; no such file is ever looked for."""

    def exec_module(self, module):
        super().exec_module(module)
        if module.__name__ in _ADJUSTED:
            from _deploy import adjustments

            adjustments.apply(module)

    def get_code(self, name):
        return _deploy_image.code(_deploy_image.find(self.get_filename(name)[len(STDLIB) + 1 :]))

    def get_data(self, path):
        if not path.startswith(STDLIB + "/"):
            raise FileNotFoundError(2, "Not in the interpreter image", path)
        return read(path[len(STDLIB) + 1 :])

    def path_stats(self, path):
        return {"mtime": 0, "size": len(self.get_data(path))}

    def set_data(self, path, data, *, _mode=0o666):
        """Nothing is written into the image: byte code is in it."""

    def get_resource_reader(self, name):
        if not self.is_package(name):
            return None
        from _deploy.image_resources import ImageResources

        return ImageResources(self.path[len(STDLIB) + 1 :].rpartition("/")[0])


class ImageFinder:
    """The meta-path finder."""

    def __init__(self, dynload):
        self._extensions = {}
        for path in _deploy_image.listing(_DYNLOAD):
            file = path[len(_DYNLOAD) :]
            self._extensions[file.partition(".")[0]] = f"{dynload}/{file}"

    def find_spec(self, name, path=None, target=None):
        found = _locate(name)
        if found is None:
            file = self._extensions.get(name)
            if file is None:
                return None
            # Not by spec_from_file_location, which would put the working directory before "<image>".
            spec = ModuleSpec(name, ExtensionFileLoader(name, file), origin=file)
            spec.has_location = True
            return spec
        # A submodule is ours only where its parent is.
        if path is not None and not any(entry.startswith(IMAGE) for entry in path):
            return None
        file, _, is_package = found
        origin = f"{STDLIB}/{file}"
        spec = ModuleSpec(name, ImageLoader(name, origin), origin=origin, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations.append(origin.rpartition("/")[0])
        return spec

    def module_names(self, folder):
        """(name, is it a package) of what can be imported from a folder below STDLIB; "" is STDLIB itself."""
        prefix = folder and f"{folder}/"
        names = {}
        for path in _deploy_image.listing(prefix):
            name, slash, rest = path[len(prefix) :].partition("/")
            if slash:
                names[name] = names.get(name, False) or rest == "__init__.py"
            elif name.endswith(".py") and name != "__init__.py":
                names.setdefault(name[:-3], None)
        yield from ((name, bool(kind)) for name, kind in names.items() if kind is not False)
        if not folder:
            yield from ((name, False) for name in self._extensions)

    def invalidate_caches(self):
        pass


class ImagePathEntryFinder:
    """The finder of one folder of the image, for a package's __path__."""

    def __init__(self, finder, folder):
        self._finder = finder
        self._folder = folder

    def find_spec(self, name, target=None):
        stem = name.rpartition(".")[2]
        whole = f"{self._folder}/{stem}" if self._folder else stem
        return self._finder.find_spec(name, None, target) if name.replace(".", "/") == whole else None

    def iter_modules(self, prefix=""):
        return ((prefix + name, is_package) for name, is_package in sorted(self._finder.module_names(self._folder)))

    def invalidate_caches(self):
        pass


class AbsentFinder:
    """The last finder: gives an import of a standard module that is not in the image its reason. It finds nothing, and whoever only
    asks whether a module exists (importlib.util.find_spec) is told that there is none."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in sys.stdlib_module_names and sys._getframe(2).f_code.co_name == "_find_and_load_unlocked":
            from _deploy import absent

            raise ModuleNotFoundError(f"No module named {name!r}: {absent.reason(name)}", name=name)

    @staticmethod
    def invalidate_caches():
        pass


def _adopt(finder, module):
    """Makes a module that CPython's start took from its frozen ones look as if it had been imported from the image."""
    spec = finder.find_spec(module.__name__)
    if spec is not None and getattr(module.__spec__, "loader", None) is FrozenImporter:
        module.__spec__ = spec
        module.__loader__ = spec.loader
        module.__file__ = spec.origin
        module.__cached__ = spec.cached
        if spec.submodule_search_locations is not None:
            module.__path__ = spec.submodule_search_locations


def _is_frozen(name, /, *, given=_imp.is_frozen):
    is_ours = _locate(name) is not None or isinstance(getattr(sys.modules.get(name), "__loader__", None), ImageLoader)  # os.path
    return given(name) and not is_ours


def install(dynload):
    sys._stdlib_dir = STDLIB
    # CPython has some modules of the image frozen, too. A second importlib (_bootstrap._setup; test.support makes one) asks which
    # of the modules in sys.modules are frozen, and then looks in them for what the importer of frozen modules leaves there.
    _is_frozen.__name__ = _is_frozen.__qualname__ = "is_frozen"
    _imp.is_frozen = _is_frozen
    finder = ImageFinder(dynload)
    for module in list(sys.modules.values()):
        _adopt(finder, module)

    def path_hook(path):
        if path == STDLIB or path.startswith(STDLIB + "/"):
            return ImagePathEntryFinder(finder, path[len(STDLIB) + 1 :])
        raise ImportError("not a folder of the interpreter image", path=path)

    # After the builtin modules, before CPython's frozen ones (which have no source) and the files of sys.path.
    sys.meta_path.insert(1, finder)
    sys.meta_path.append(AbsentFinder)
    sys.path_hooks.insert(0, path_hook)
    loaders = (ExtensionFileLoader, EXTENSION_SUFFIXES), (PackageLoader, [".py"]), (SourcelessFileLoader, [".pyc"])
    sys.path_hooks[-1] = FileFinder.path_hook(*loaders)
    # For debuggers, which leave out the modules of importlib by their names ("importlib*").
    global __name__
    __name__ = "importlib._deploy"
