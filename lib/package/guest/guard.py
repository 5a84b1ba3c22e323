"""Environment.allowed_externs where a package's code and pickles run: what they import is checked before it is looked for.

It is a guard rail for packages that mean well and a fence that others have to climb visibly; it is no sandbox. Checked are the
ways in which a module is asked for by name: import statements and __import__ (relative ones too, by the name that they amount to),
importlib.import_module, and globals of pickles. A module that some allowed module has as an attribute is checked where
`from ... import` or a pickle takes it, and is not where code writes `os.sys`. What allowed modules import is their own matter.

A name counts as the package's only if an import of it gives something of the package: a folder of data that is called `subprocess`
does not make the environment's `subprocess` the package's.
"""

import builtins
import functools
import importlib
import importlib.util
import sys
from importlib._bootstrap import _calc___package__
from types import ModuleType


class Guard:
    def __init__(self, importer, allowed):
        self._importer = importer
        self._allowed = allowed
        _guard_import_module()

    def check(self, name, fromlist=()):
        """ImportError unless module `name`, or all that is imported from it, is the package's or allowed."""
        name = self._importer.demangle(name)
        if not name:
            return
        if not self._importer.is_inside(name):
            self._allowed.check(name, self._importer.filename, fromlist)
        elif self._importer.is_namespace(name):
            for item in fromlist:
                if isinstance(item, str) and not self._importer.is_inside(f"{name}.{item}"):
                    self._allowed.check(f"{name}.{item}", self._importer.filename)

    def check_import(self, name, globals, fromlist, level):
        """Of __import__'s arguments. Gives the absolute name of the module."""
        if level > 0:
            package = _calc___package__(globals if globals is not None else {})
            name = importlib.util.resolve_name("." * level + name, package)
        self.check(name, fromlist)
        return name

    def check_items(self, module, fromlist):
        """Of what an import gave: `from a import b` may be a module of another name than `a.b`."""
        for item in fromlist:
            try:
                self.check_module(getattr(module, item))
            except AttributeError:
                continue

    def check_module(self, value):
        """What is no module passes, and what is the package's."""
        if not isinstance(value, ModuleType):
            return
        name = getattr(value, "__name__", None)
        if isinstance(name, str) and sys.modules.get(name) is value and not self._importer.has_module(value):
            self._allowed.check(name, self._importer.filename)

    def resolve(self, found, qualified_name):
        """Attribute `a.b` of a module, for a pickle: none of the way leads over a module that is not allowed."""
        for part in qualified_name.split("."):
            found = getattr(found, part)
            self.check_module(found)
        if found is builtins.__import__:
            return self._importer._import_hook
        return self.import_module if found is importlib.import_module else found

    def import_module(self, name, package=None):
        """As importlib's."""
        self.check(importlib.util.resolve_name(name, package) if name.startswith(".") else name)
        return importlib.import_module(name, package)


@functools.cache
def _guard_import_module():
    """importlib.import_module looks at who calls it: code of a package that is guarded has the importer's __import__."""
    original = importlib.import_module

    @functools.wraps(original)
    def import_module(name, package=None):
        importer = getattr(sys._getframe(1).f_builtins.get("__import__"), "__self__", None)
        guard = getattr(importer, "guard", None)
        if isinstance(guard, Guard) and isinstance(name, str):
            guard.check(importlib.util.resolve_name(name, package) if name.startswith(".") else name)
        return original(name, package)

    importlib.import_module = import_module
