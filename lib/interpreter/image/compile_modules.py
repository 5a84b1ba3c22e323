"""Compiles a tree of Python modules for the image's archive.

Run by the Python that is embedded: byte code belongs to exactly one version. Writes a part: a marshalled list of
(path, content, code) where path is relative to <image>/python3.X, content the file's bytes, and code the
marshalled code object, or b"" for a data file. assemble_archive.py joins the parts.
"""

import argparse
import marshal
import os
import pickle
import sys
import warnings
from types import CodeType

IMAGE_STDLIB = f"<image>/python{sys.version_info.major}.{sys.version_info.minor}"

# Never wanted inside a host program: test suites, graphical tools, installers, what configures one machine's own Python, and what
# opens a browser when it is imported. guest/python/absent.py tells who imports them.
SKIPPED_FOLDERS = {
    "__pycache__", "test", "tests", "idle_test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib-dynload",
    "site-packages", "dist-packages", "__phello__",
}  # fmt: skip
SKIPPED_FILES = {"sitecustomize.py", "usercustomize.py", "turtle.py", "__hello__.py", "antigravity.py"}
# Functions that stand in an import, or around one; None: all of a module. CPython leaves the frames of importlib out of tracebacks
# and of what warnings count, and knows them by this name of a file (guest/python/finder.py).
HIDDEN_FILE = "<frozen importlib._bootstrap_external>"
HIDDEN_FUNCTIONS = {
    "_deploy/deferred.py": None,
    "_deploy/finder.py": None,
    "_deploy/guard.py": {"import_module"},
    "_deploy/package.py": {"_import", "_import_hook", "exec_module"},
    "_deploy/registered.py": None,
    "_deploy/tree.py": {"exec_module"},
    "_deploy/verified_code.py": {"exec_module", "get_code"},
}
DATA_SUFFIXES = {".txt", ".css", ".cfg", ".rst"}
DATA_FOLDERS = ("venv/scripts",)  # in which each file is data


def wanted_files(folder):
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and not f.startswith("config-"))
        for name in sorted(files):
            suffix = os.path.splitext(name)[1]
            is_data = suffix in DATA_SUFFIXES or os.path.relpath(root, folder).startswith(DATA_FOLDERS)
            if name in SKIPPED_FILES or (suffix != ".py" and not is_data):
                continue
            if root == folder and suffix != ".py":
                continue
            yield os.path.join(root, name)


def compiled(path, content):
    """The code object as marshalled bytes; b"" for data, and for a template that is no Python by itself."""
    if not path.endswith(".py"):
        return b""
    try:
        code = compile(content, f"{IMAGE_STDLIB}/{path}", "exec", dont_inherit=True, optimize=0)
    except SyntaxError:
        return b""
    return marshal.dumps(with_hidden(code, HIDDEN_FUNCTIONS.get(path, ())))


def with_hidden(code, names):
    """The code with the functions of these names, and what is inside them, under HIDDEN_FILE; None: all of it."""
    hidden = names is None or code.co_name in names
    inside = None if hidden else names
    constants = tuple(with_hidden(value, inside) if isinstance(value, CodeType) else value for value in code.co_consts)
    return code.replace(co_consts=constants, co_filename=HIDDEN_FILE if hidden else code.co_filename)


def grammar_tables(stdlib):
    """lib2to3 reads its grammars as files and writes pickles beside them; in the image it finds the pickles."""
    if not os.path.isdir(f"{stdlib}/lib2to3"):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from lib2to3.pgen2 import driver, pgen
    for name in ("Grammar.txt", "PatternGrammar.txt"):
        path = f"{stdlib}/lib2to3/{name}"
        tables = pgen.generate_grammar(path)
        yield "lib2to3/" + os.path.basename(driver._generate_pickle_name(path)), pickle.dumps(tables.__dict__)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", required=True)
    parser.add_argument("--prefix", default="", help="the package that the folders become, as a path")
    parser.add_argument("--stdlib", help="a standard library of this version, which comes before this Python's own")
    parser.add_argument("folders", nargs="*", help="default: the standard library")
    options = parser.parse_args()

    entries = []
    own = os.path.dirname(os.__file__)
    first = options.stdlib
    if not options.folders:
        entries += ((path, content, b"") for path, content in grammar_tables(own))
    seen = set()
    # What the distribution packs by itself (lib2to3, most of distutils) is only in this Python's own.
    for folder in options.folders or filter(None, [first, own]):
        for file in wanted_files(folder):
            path = os.path.join(options.prefix, os.path.relpath(file, folder))
            if path in seen and not options.folders:
                continue
            seen.add(path)
            with open(file, "rb") as stream:
                content = stream.read()
            entries.append((path, content, compiled(path, content)))
    with open(options.output, "wb") as stream:
        marshal.dump(entries, stream)


if __name__ == "__main__":
    main()
