"""Which revision of a distribution's Python a file is of. One image has one: the C code of libpython, the standard library and its
extension modules come from the same source, because a revision may change both sides of an interface, as security fixes do.

    revision.py LIBRARY STDLIB      checks that a libpython and the standard library of this Python fit; CMake calls it

What build.py builds says its revision in a file beside the library. Where the mirror has no source of the installed revision any
more, it also unpacks the standard library of the revision that it built, into a folder beside the library; that is STDLIB then.
"""

import ctypes
import pathlib
import subprocess
import sys

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
FULL_VERSION = f"{VERSION}.{sys.version_info.micro}"
# The packages that have the standard library and its extension modules.
STDLIB_PACKAGES = (f"libpython{VERSION}-minimal", f"libpython{VERSION}-stdlib")
FILE = "revision"


def installed():
    """The revision of the installed standard library of the distribution's Python; None where no distribution's package has it."""
    command = ["dpkg-query", "-W", "-f=${Version}", STDLIB_PACKAGES[-1]]
    try:
        shown = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return shown.stdout.strip() if shown.returncode == 0 and shown.stdout.strip() else None


def is_of_distribution(stdlib):
    return pathlib.Path(stdlib).resolve() == pathlib.Path(f"/usr/lib/python{VERSION}")


def of_stdlib(stdlib):
    """The revision of the standard library in a folder; None where nothing says it."""
    told = pathlib.Path(stdlib) / FILE
    if told.is_file():
        return told.read_text().strip()
    return installed() if is_of_distribution(stdlib) else None


def of_library(library):
    """The revision that build.py noted beside a libpython; None for a library of another origin."""
    told = pathlib.Path(library).resolve().parent / FILE
    return told.read_text().strip() if told.is_file() else None


def version_of_library(library):
    """ "3.11.2", as the library itself says; None for an archive, which cannot be asked."""
    if ".so" not in pathlib.Path(library).name:
        return None
    say = ctypes.CDLL(str(library)).Py_GetVersion
    say.restype = ctypes.c_char_p
    return say().decode().split()[0]


def problem(library, stdlib):
    """What is wrong with a pair, or None."""
    version = version_of_library(library)
    if version is not None and version != FULL_VERSION:
        return f"{library} is Python {version}, and the standard library in {stdlib} is of Python {FULL_VERSION}"
    built, beside = of_library(library), of_stdlib(stdlib)
    if built is not None and built != beside:
        other = beside or "a revision that nothing tells"
        return f"{library} was built from revision {built}, and the standard library in {stdlib} is of {other}"
    return None


if __name__ == "__main__":
    found = problem(*sys.argv[1:])
    if found:
        sys.exit(found)
