"""Under which name a class or function can be found again.

Pickle trusts `__module__` and `__qualname__`. They are wrong more often than one thinks: a namedtuple bound to another name, a
class that a factory made, a function that a C library did not tell its module, code of a script whose module is `__main__` here
and nothing elsewhere. So where they do not lead back to the object, every module that is loaded is searched for it; and then the
names beside which it was defined, because a module may have been run without being listed in `sys.modules` (torch.hub does that to
hubconf.py).
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import inspect
import itertools
import os
import sys
import sysconfig
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from deploy.package.sources import locate


class NameProblem(Exception):
    """No module has the object. The text says what it is."""

    def __init__(self, why: str, choice: str) -> None:
        super().__init__(why)
        self.why = why
        self.choice = choice


def resolve(module: ModuleType | dict[str, Any], qualified_name: str) -> Any:
    """Attribute `a.b` of a module, or of one with these names; AttributeError."""
    first, *parts = qualified_name.split(".")
    if isinstance(module, dict):
        if first not in module:
            raise AttributeError(first)
        found = module[first]
    else:
        found = getattr(module, first)
    for part in parts:
        found = getattr(found, part)
    return found


@dataclasses.dataclass(frozen=True)
class Unlisted:
    """A module that is not in sys.modules: its names, and its file."""

    namespace: dict[str, Any]
    file: str


class Names:
    """`renamed` are modules that are called otherwise in the package, `__main__` above all. The first element of what find() gives
    is the name in the package."""

    def __init__(self, renamed: dict[str, str]) -> None:
        self._renamed = renamed
        self._found: dict[int, tuple[Any, str, str]] = {}  # id -> the object (kept alive), module, name
        self._index: dict[int, list[tuple[str, str]]] | None = None
        self.used: dict[str, set[str]] = {}  # renamed module, as it is called here -> names found in it
        self.unlisted: dict[str, Unlisted] = {}  # by their names in the package

    def packaged(self, module: str) -> str:
        """What a module is called in the package."""
        unlisted = (name for name, each in self.unlisted.items() if each.namespace.get("__name__") == module)
        return next(unlisted, self._renamed.get(module, module))

    def of_type(self, obj: Any) -> str:
        """The name of an object's class, as it is in the package."""
        kind = type(obj)
        try:
            return ".".join(self.find(kind))
        except NameProblem:
            return f"{self.packaged(kind.__module__)}.{kind.__qualname__}"

    def here(self, module: str, name: str) -> Any:
        """The object that find() gave this module and name for. AttributeError, ImportError."""
        if module in self.unlisted:
            return resolve(self.unlisted[module].namespace, name)
        original = next((here for here, there in self._renamed.items() if there == module and here in sys.modules), module)
        return resolve(importlib.import_module(original), name)

    def find(self, obj: Any, name: str | None = None) -> tuple[str, str]:
        """(module, qualified name). `name` is what a __reduce__ gave as the object's global name. NameProblem."""
        known = self._found.get(id(obj))
        if known is None:
            module, qualified = self._own_name(obj, name) or self._any_name(obj, name)
            if module in self._renamed:
                self.used.setdefault(module, set()).add(qualified.partition(".")[0])
            known = (obj, module if module in self.unlisted else self._renamed.get(module, module), qualified)
            self._found[id(obj)] = known
        return known[1], known[2]

    def _own_name(self, obj: Any, name: str | None) -> tuple[str, str] | None:
        qualified = name or getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
        if not isinstance(qualified, str) or "<" in qualified:
            return None
        kind = type(obj)
        modules = [getattr(obj, "__module__", None), getattr(kind, "__module__", None)]
        modules += [module.partition(".")[0] for module in modules if isinstance(module, str)]
        for module in modules:
            if isinstance(module, str) and _leads_to(module, qualified, obj):
                return module, qualified
        return None

    def _any_name(self, obj: Any, name: str | None) -> tuple[str, str]:
        if self._index is None:
            self._index = _index_of_modules()
        places = self._index.get(id(obj), [])
        if name is not None:
            places = [(module, name) for module in list(sys.modules) if _leads_to(module, name, obj, importing=False)]
        if not places:
            unlisted = self._unlisted_name(obj, name)
            if unlisted is None:
                raise _problem(obj)
            return unlisted
        home = str(getattr(obj, "__module__", None) or type(obj).__module__)

        def distance(place: tuple[str, str]) -> tuple[bool, bool, bool, int, tuple[str, str]]:
            module = place[0]
            same_top = module.partition(".")[0] == home.partition(".")[0]
            private = any(part.startswith("_") for part in module.split("."))
            return module != home, not same_top, private, len(module), place

        return min(places, key=distance)

    def _unlisted_name(self, obj: Any, name: str | None) -> tuple[str, str] | None:
        """In a module that was run, and is not in sys.modules."""
        qualified = name or getattr(obj, "__qualname__", None)
        if not isinstance(qualified, str) or "<" in qualified or not hasattr(obj, "__module__"):
            return None
        known = (each.namespace for each in self.unlisted.values() if each.namespace.get("__name__") == obj.__module__)
        for namespace in itertools.chain(known, _namespaces_around(obj)):
            called, file = namespace.get("__name__"), namespace.get("__file__")
            if not isinstance(called, str) or not isinstance(file, str) or not file.endswith(".py") or not os.path.isfile(file):
                continue
            try:
                if resolve(namespace, qualified) is not obj:
                    continue
            except AttributeError:
                continue
            if called.endswith(".py") or not called.replace(".", "_").isidentifier() or called == "__main__":
                called = os.path.basename(file)[:-3]  # torch.hub calls it hubconf.py, runpy `<run_path>`
            return self._name_of_unlisted(called, Unlisted(namespace, file)), qualified
        return None

    def _name_of_unlisted(self, called: str, module: Unlisted) -> str:
        """Its own, unless another module has it."""
        for number in itertools.count(1):
            name = called if number == 1 else f"{called}_{number}"
            if name in self.unlisted:
                if self.unlisted[name].namespace is module.namespace:
                    return name
                continue
            other = locate(name)
            if other is None or (other.file is not None and os.path.realpath(other.file) == os.path.realpath(module.file)):
                self.unlisted[name] = module
                return name
        raise AssertionError


def _namespaces_around(obj: Any) -> Iterator[dict[str, Any]]:
    """The names of the modules in which a function or class may have been defined."""
    function = inspect.unwrap(obj) if callable(obj) and not isinstance(obj, type) else None
    if function is not None and hasattr(function, "__globals__"):
        yield function.__globals__
    if isinstance(obj, type):
        for value in list(vars(obj).values()):
            value = getattr(value, "__func__", getattr(value, "fget", value))
            if hasattr(value, "__globals__") and value.__globals__.get("__name__") == obj.__module__:
                yield value.__globals__
    for referrer in gc.get_referrers(obj):
        if type(referrer) is dict and "__file__" in referrer and referrer.get("__name__") == getattr(obj, "__module__", None):
            yield referrer


def _leads_to(module: str, qualified: str, obj: Any, importing: bool = True) -> bool:
    try:
        loaded = sys.modules.get(module) or (importlib.import_module(module) if importing else None)
        return loaded is not None and resolve(loaded, qualified) is obj
    except Exception:  # whatever an import or a lazy attribute raises: it is not there
        return False


def _index_of_modules() -> dict[int, list[tuple[str, str]]]:
    """Where the classes and functions of all loaded modules are bound, and those within their classes."""
    index: dict[int, list[tuple[str, str]]] = {}
    for module_name, module in list(sys.modules.items()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if not isinstance(name, str) or not callable(value):
                continue
            index.setdefault(id(value), []).append((module_name, name))
            if isinstance(value, type) and value.__module__ == module_name:
                for inner, attribute in list(vars(value).items()):
                    attribute = getattr(attribute, "__func__", attribute)
                    if callable(attribute):
                        index.setdefault(id(attribute), []).append((module_name, f"{name}.{inner}"))
    return index


def _problem(obj: Any) -> NameProblem:
    qualified = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None) or repr(obj)
    where = _definition(obj)
    top_level = "define it at the top level of a module, where it has a name to be found by"
    undo = (
        "set the attribute that holds it to what it was (a hook: call its handle's remove()), so that the next call makes it anew"
    )
    of_a_library = is_of_a_library(obj)
    if of_a_library:
        top_level = f"a library made it while it ran: pack the object before the first call, or {undo}"
    if "<lambda>" in qualified:
        return NameProblem(f"is a lambda{where}", f"write it as a function (def) and {top_level}")
    if "<locals>" in qualified:
        kind = "class" if isinstance(obj, type) else "function"
        outer = qualified.split(".<locals>")[0]
        if not of_a_library:
            top_level += f"; where the first call makes it, pack the object before that call, or {undo}"
        return NameProblem(f"is the local {kind} {qualified!r}, made inside {outer!r}{where}", top_level)
    module = getattr(obj, "__module__", None)
    return NameProblem(
        f"is {qualified!r}, which module {module!r} does not have under that name, nor any other module{where}", top_level
    )


def is_of_a_library(obj: Any) -> bool:
    """Whether a function or class was defined in installed code or in the standard library, which its user does not write."""
    code = getattr(obj, "__code__", None)
    module = sys.modules.get(str(getattr(obj, "__module__", None)))
    file = code.co_filename if code else str(getattr(module, "__file__", None) or "")
    paths = sysconfig.get_paths()
    return "site-packages" in file or "dist-packages" in file or file.startswith((paths["stdlib"] + "/", "<frozen"))


def _definition(obj: Any) -> str:
    code = getattr(obj, "__code__", None)
    return f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
