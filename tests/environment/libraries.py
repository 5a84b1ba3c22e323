"""The shared objects of an environment: which files they are, and what an import system can call them."""

from __future__ import annotations

import importlib.machinery
import struct
from dataclasses import dataclass
from pathlib import Path

ET_DYN = 3
EM_X86_64 = 62


@dataclass(frozen=True)
class SharedObject:
    """A library of a site-packages folder; `module` is the name that imports it where it is an extension module."""

    path: Path  # relative to site-packages
    module: str | None

    @property
    def package(self) -> str:
        """The top-level folder (numpy, numpy.libs), or the file itself."""
        return self.path.parts[0] if len(self.path.parts) > 1 else self.path.name


def is_shared_object(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(20)
    if len(header) < 20 or header[:5] != b"\x7fELF\x02":
        return False
    kind, machine = struct.unpack_from("<HH", header, 16)
    return kind == ET_DYN and machine == EM_X86_64


def module_of(path: Path, content: bytes) -> str | None:
    """The dotted name of an extension module: the file's name ends as one does, and it has the function that makes the module."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        name = path.name.removesuffix(suffix)
        if name != path.name and name.isidentifier() and b"PyInit_" + name.encode() in content:
            return ".".join((*path.parent.parts, name))
    return None


def find(site_packages: Path) -> list[SharedObject]:
    found = []
    for path in sorted(site_packages.rglob("*.so*")):
        if path.is_symlink() or not path.is_file() or not is_shared_object(path):
            continue
        relative = path.relative_to(site_packages)
        found.append(SharedObject(relative, module_of(relative, path.read_bytes())))
    return found
