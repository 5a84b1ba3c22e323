"""The code of a verified package: what is imported are the bytes that were verified.

The folder of a unit can be changed by every program of the user, and what Python keeps beside sources is believed for their
time and size. So modules of a verified unit are found by the table of the package's records and compiled out of the package's
sealed copy (lib/package/package_file.h), which nothing can change. The folder is for what code looks for beside its __file__.

Byte code is made once a process: the first interpreter that imports a module compiles it, and appends the code to a file in
memory that all interpreters of the process have; the others take it from there. Nothing of it is on the disk.
"""

import marshal
import os
import struct
import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import spec_from_file_location

_HEADER = struct.Struct("<II")  # the sizes of a module's file name and of its marshalled code, which follow


class _Store:
    """Byte code in a file in memory, by file name. Each entry is appended by one write, so that interpreters need no lock."""

    def __init__(self, fd):
        self._fd = os.dup(fd)
        self._read = 0
        self._places = {}

    def __del__(self):
        os.close(self._fd)

    def get(self, name):
        if name not in self._places:
            self._look_for_more()
        place = self._places.get(name)
        return None if place is None else marshal.loads(os.pread(self._fd, *place))

    def add(self, name, code):
        encoded, data = name.encode(), marshal.dumps(code)
        os.write(self._fd, _HEADER.pack(len(encoded), len(data)) + encoded + data)

    def _look_for_more(self):
        end = os.fstat(self._fd).st_size
        while self._read + _HEADER.size <= end:
            name_size, size = _HEADER.unpack(os.pread(self._fd, _HEADER.size, self._read))
            start = self._read + _HEADER.size + name_size
            if start + size > end:
                break  # an entry that is being written
            name = os.pread(self._fd, name_size, self._read + _HEADER.size).decode()
            self._places.setdefault(name, (size, start))
            self._read = start + size


class Code:
    """The modules of one verified unit."""

    def __init__(self, unit, names, store):
        self._unit = unit
        self._start = unit.folder + "/"
        self._files = frozenset(names)
        self._entries = {"": set()}  # folder -> the names in it; folders end with a slash
        for name in self._files:
            folder, _, entry = name.rpartition("/")
            while folder not in self._entries:
                self._entries[folder] = {entry}
                folder, _, entry = folder.rpartition("/")
                entry += "/"
            self._entries[folder].add(entry)
        self._archive = None
        self._store = _Store(store)

    def read_from(self, archive):
        """All packages with the unit have the same bytes: those of one that is open are read."""
        self._archive = archive

    def data(self, path):
        """The bytes of a file of the unit; None for any other."""
        name = path.removeprefix(self._start)
        return self._archive.read(name) if path.startswith(self._start) and name in self._files else None

    def load(self, loader, path):
        """The code of the module whose source is at `path`."""
        name = path.removeprefix(self._start)
        code = self._store.get(name)
        if code is None:
            code = loader.source_to_code(self._archive.read(name), path)
            self._store.add(name, code)
        return code

    def spec(self, folder, fullname):
        """What importlib's FileFinder would find in a folder, if the unit's files were there and nothing else."""
        stem = folder + fullname.rpartition(".")[2]
        for suffix, loader in _LOADERS:
            if f"{stem}/__init__{suffix}" in self._files:
                return self._spec_of(fullname, f"{stem}/__init__{suffix}", loader, [self._start + stem])
        for suffix, loader in _LOADERS:
            if stem + suffix in self._files:
                return self._spec_of(fullname, stem + suffix, loader, None)
        if stem not in self._entries:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)  # a part of a namespace package
        spec.submodule_search_locations = [self._start + stem]
        return spec

    def _spec_of(self, fullname, name, loader, locations):
        path = self._start + name
        loader = loader(fullname, path, self._unit)
        return spec_from_file_location(fullname, path, loader=loader, submodule_search_locations=locations)

    def modules_in(self, folder):
        """(name, is it a package) of the modules in a folder."""
        names = {}
        for entry in sorted(self._entries.get(folder.removesuffix("/"), ())):
            if entry.endswith("/"):
                inner = self._entries[folder + entry[:-1]]
                if any(f"__init__{suffix}" in inner for suffix, _ in _LOADERS):
                    names[entry[:-1]] = True
                continue
            name = next((entry.removesuffix(suffix) for suffix, _ in _LOADERS if entry.endswith(suffix)), "__init__")
            if name != "__init__" and "." not in name:
                names.setdefault(name, False)
        return sorted(names.items())


class _FolderFinder:
    """The path entry finder of a folder of a verified unit."""

    def __init__(self, code, folder):
        self._code = code
        self._folder = folder

    def find_spec(self, fullname, target=None):
        return self._code.spec(self._folder, fullname)

    def iter_modules(self, prefix=""):
        return ((prefix + name, is_package) for name, is_package in self._code.modules_in(self._folder))

    def invalidate_caches(self):
        pass


def install(units):
    """Makes importlib, and all that asks it, find the modules of verified units by their tables. `units`: the dictionary of all."""

    def path_hook(path):
        for unit in units.values():
            if unit.code is not None and unit.has_path(path):
                folder = path[len(unit.folder) + 1 :].strip("/")
                return _FolderFinder(unit.code, folder and folder + "/")
        raise ImportError("not a folder of a verified package", path=path)

    sys.path_hooks.insert(0, path_hook)


class _Loader:
    """What the loaders of verified modules have in common."""

    def __init__(self, name, path, unit):
        super().__init__(name, path)
        self._unit = unit

    def exec_module(self, module):
        self._unit.prepare(module, self)
        super().exec_module(module)

    def get_data(self, path):
        data = self._unit.code.data(path)
        return super().get_data(path) if data is None else data


class _SourceLoader(_Loader, SourceFileLoader):
    def get_code(self, fullname):
        return self._unit.code.load(self, self.get_filename(fullname))


class _SourcelessLoader(_Loader, SourcelessFileLoader):
    pass


class _ExtensionLoader(ExtensionFileLoader):
    """Of the file in the folder, which was compared when the package was loaded: the system maps files, not bytes."""

    def __init__(self, name, path, unit):
        super().__init__(name, path)


# In the order in which the path finder looks for them.
_LOADERS = (
    *((suffix, _ExtensionLoader) for suffix in EXTENSION_SUFFIXES),
    *((suffix, _SourceLoader) for suffix in SOURCE_SUFFIXES),
    *((suffix, _SourcelessLoader) for suffix in BYTECODE_SUFFIXES),
)
