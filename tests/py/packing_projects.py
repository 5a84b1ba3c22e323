"""Own code for tests of packing: files that become modules of this process for a while."""

import contextlib
import importlib
import json
import pathlib
import sys
import zipfile


def write(folder, files):
    for name, text in files.items():
        path = pathlib.Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


@contextlib.contextmanager
def imported(folder, files, name):
    """The module `name` out of files in a folder that is on sys.path meanwhile; afterwards nothing of them is loaded."""
    write(folder, files)
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        for module in set(sys.modules) - before:
            file = getattr(sys.modules[module], "__file__", None)
            paths = [file] if file else list(getattr(sys.modules[module], "__path__", ()))
            if any(pathlib.Path(path).is_relative_to(folder) for path in paths):
                del sys.modules[module]


def records_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def manifest_of(path):
    return json.loads(records_of(path)[".data/deploy/manifest.json"])
