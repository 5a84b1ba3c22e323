"""Where modules are, and what a module imports, without importing or running anything."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib.machinery
import importlib.util
import os
import pathlib
import sys


@dataclasses.dataclass(frozen=True)
class Location:
    """A module's file. `file` is None for built-in ones and for namespace packages; `is_package` tells folders from single
    files."""

    file: str | None
    is_package: bool
    search: tuple[str, ...] = ()

    @property
    def is_source(self) -> bool:
        return self.file is not None and self.file.endswith(".py")


def locate(name: str) -> Location | None:
    """Where a module is, loaded or not; None where there is none."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is not None and spec is None:
        file = getattr(module, "__file__", None)
        return Location(file, hasattr(module, "__path__"), tuple(getattr(module, "__path__", ())))
    if spec is None:
        parent, _, _ = name.rpartition(".")
        try:
            if not parent:
                spec = importlib.util.find_spec(name)
            else:
                above = locate(parent)
                spec = importlib.machinery.PathFinder.find_spec(name, list(above.search)) if above and above.search else None
        except (ImportError, ValueError, AttributeError):
            return None
    if spec is None:
        return None
    search = tuple(spec.submodule_search_locations or ())
    return Location(spec.origin if spec.has_location else None, spec.submodule_search_locations is not None, search)


@dataclasses.dataclass(frozen=True)
class Import:
    """optional: the code goes on where the module is not there, or only type checkers see it; deferred: not before a function is
    called."""

    module: str
    optional: bool
    deferred: bool = False


def imports_of(source: str | bytes, module: str, is_package: bool, filename: str = "") -> list[Import]:
    """The modules that `source`, the text of `module`, imports; for `from a import b` both a and a.b, which may be no module.
    SyntaxError."""
    finder = _Imports(module, is_package)
    finder.visit(ast.parse(source, filename or module))
    return finder.found


class _Imports(ast.NodeVisitor):
    def __init__(self, module: str, is_package: bool) -> None:
        self.found: list[Import] = []
        self._package = module if is_package else module.rpartition(".")[0]
        self._optional = 0
        self._depth = 0

    def _add(self, module: str) -> None:
        self.found.append(Import(module, self._optional > 0, self._depth > 0))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_Lambda = visit_FunctionDef

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parts = self._package.split(".") if self._package else []
            if node.level - 1 >= len(parts):
                return
            base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
        self._add(base)
        self._optional += 1  # a name of the module as often as a module
        for alias in node.names:
            if alias.name != "*":
                self._add(f"{base}.{alias.name}")
        self._optional -= 1

    def visit_Call(self, node: ast.Call) -> None:
        """importlib.import_module("a.b") and __import__("a.b") with a literal name."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
            target = node.args[0].value
            if isinstance(target, str) and target.strip("."):
                with contextlib.suppress(ImportError):  # more dots than packages
                    self._add(importlib.util.resolve_name(target, self._package) if target.startswith(".") else target)
        self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        self._optional += 1
        for statement in node.body:
            self.visit(statement)
        self._optional -= 1
        for part in (node.handlers, node.orelse, node.finalbody):
            for statement in part:
                self.visit(statement)

    def visit_If(self, node: ast.If) -> None:
        checking = node.test.attr if isinstance(node.test, ast.Attribute) else getattr(node.test, "id", "")
        self._optional += checking == "TYPE_CHECKING"
        for statement in node.body:
            self.visit(statement)
        self._optional -= checking == "TYPE_CHECKING"
        for statement in node.orelse:
            self.visit(statement)


def read_source(name: str, location: Location) -> bytes | None:
    """The text of a module; None where it has none (an extension module, byte code only)."""
    if location.is_source and location.file is not None and os.path.isfile(location.file):
        return pathlib.Path(location.file).read_bytes()
    loader = getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)
    try:
        text = loader.get_source(name) if loader is not None and hasattr(loader, "get_source") else None
    except Exception:  # a loader may raise anything
        return None
    return text.encode() if text is not None else None
