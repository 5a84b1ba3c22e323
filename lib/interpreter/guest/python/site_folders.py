"""What the .pth files of the environment's site-packages folders add to sys.path: folders of editable installations, and others.

As in `site`, a line that names an existing folder adds it behind the folders of the environment. Lines that begin with `import` are
code that a Python of its own runs at its start, most of it for that program (coverage, pip's own switches). Here only those of
editable installations are executed, which put a finder of their modules in place; their names have "editable" in them, whoever
built them.
"""

import os
import sys

_added = []  # folders
_finders = []  # in sys.meta_path and sys.path_hooks


def _lines(file):
    try:
        with open(file, encoding="utf-8-sig") as stream:
            text = stream.read()
    except UnicodeDecodeError:  # as `site`: in the encoding of the machine, which is nobody's here
        with open(file, encoding="latin-1") as stream:
            text = stream.read()
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _read(folder, file, known):
    for line in _lines(file):
        if line.startswith(("import ", "import\t")):
            if "editable" in line.lower():
                exec(line, {})
            continue
        path = os.path.abspath(os.path.join(folder, line))
        if path not in known and os.path.exists(path):
            known.add(path)
            _added.append(path)
            sys.path.append(path)


def add(folders):
    known = {os.path.abspath(path) for path in sys.path}
    for folder in folders:
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(".pth") and not name.startswith("."))
        except OSError:
            continue
        for name in names:
            file = os.path.join(folder, name)
            before = [*sys.meta_path, *sys.path_hooks]
            try:
                _read(folder, file, known)
            except Exception as error:
                print(f"{file} is left out: {type(error).__name__}: {error}", file=sys.stderr)
            _finders.extend(found for found in [*sys.meta_path, *sys.path_hooks] if found not in before)


def forget():
    """Takes all of it away: a package is verified where what it brings cannot come from anywhere else."""
    sys.path[:] = [path for path in sys.path if path not in _added]
    for places in (sys.meta_path, sys.path_hooks):
        places[:] = [found for found in places if found not in _finders]
    sys.path_importer_cache.clear()
    _added.clear()
    _finders.clear()
