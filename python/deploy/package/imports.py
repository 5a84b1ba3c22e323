"""The imports that a module's source has, and which of them ran when the module was imported.

A source says more than happens: branches on the version or the platform, modules that are looked for first, fallbacks. The module
has been imported in this process already, so what happened can be looked up: an import that ran has left its target in
`sys.modules`, and the name that it binds in the module (or in the class around it).
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

_IMPORT_LINE = re.compile(rb"^[ \t]*(?:import|from)[ \t]+([A-Za-z_]\w*)", re.MULTILINE)
_NOTHING = object()
_CAUGHT = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


@dataclasses.dataclass(frozen=True)
class Import:
    """One module that a source imports.

    module       its full name; for `from a import b` there is one of `a`, and one of `a.b`, which may be no module
    binds        the name that the statement binds; "" for import_module("a"), __import__("a") and `from a import *`
    member       what `from module import member` takes out of the module, "*" included
    scope        the classes around it, the outermost first
    certain      it runs whenever the module is imported
    caught       the code goes on where the module is not there: `try` with a handler for ImportError, suppress(ImportError)
    never        only type checkers see it
    deferred     it does not run before a function is called
    maybe_name   it is the `a.b` of `from a import b`
    """

    module: str
    binds: str = ""
    member: str = ""
    scope: tuple[str, ...] = ()
    certain: bool = True
    caught: bool = False
    never: bool = False
    deferred: bool = False
    maybe_name: bool = False


def imports_of(source: str | bytes, module: str, is_package: bool, filename: str = "") -> list[Import]:
    """What `source`, the text of `module`, imports. SyntaxError."""
    finder = _Imports(module, is_package)
    finder.visit(ast.parse(source, filename or module))
    # `if HAVE_X: from x import y` goes with the `try: import x` above it.
    caught = {found.module.partition(".")[0] for found in finder.found if found.caught and not found.deferred}

    def goes_with_one(found: Import) -> bool:
        return not found.certain and not found.deferred and found.module.partition(".")[0] in caught

    return [dataclasses.replace(found, caught=True) if goes_with_one(found) else found for found in finder.found]


def tops_imported_by(source: bytes) -> set[str]:
    """The top-level modules that the lines of a source name, which is not parsed."""
    return {name.decode() for name in _IMPORT_LINE.findall(source)}


def ran(found: Import, namespace: Mapping[str, Any]) -> bool:
    """Whether an import that is not in a function ran. `namespace`: the names of the module, which has been imported."""
    if found.never:
        return False
    target = sys.modules.get(found.module)
    if found.certain and (found.binds or found.member) and not found.maybe_name:
        return True
    if target is None:
        return False
    if not found.binds:
        return not found.member or _has_all_of(namespace, target)
    value = _bound(namespace, found)
    if found.member:
        return value is _member(target, found.member) or value is sys.modules.get(f"{found.module}.{found.member}", _NOTHING)
    if not found.maybe_name and "." in found.module and found.binds == found.module.partition(".")[0]:
        target = sys.modules.get(found.binds)  # `import a.b` binds a
    return value is target


def _bound(namespace: Mapping[str, Any], found: Import) -> Any:
    for name in found.scope:
        kind = namespace.get(name)
        if not isinstance(kind, type):
            return _NOTHING
        namespace = vars(kind)
    value = namespace.get(found.binds, _NOTHING)
    return value.__func__ if found.scope and isinstance(value, staticmethod) else value


def _member(module: Any, name: str) -> Any:
    try:
        return getattr(module, name)
    except Exception:  # whatever a module's own __getattr__ raises
        return _NOTHING


def _has_all_of(namespace: Mapping[str, Any], module: Any) -> bool:
    """Whether the names of `from module import *` are there."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    own = [name for name in names if isinstance(name, str)]
    return bool(own) and any(namespace.get(name, _NOTHING) is vars(module).get(name) for name in own)


class _Imports(ast.NodeVisitor):
    def __init__(self, module: str, is_package: bool) -> None:
        self.found: list[Import] = []
        self._package = module if is_package else module.rpartition(".")[0]
        self._uncertain = self._caught = self._never = self._depth = 0
        self._scope: list[str] = []

    def _add(self, module: str, **fields: Any) -> None:
        where = {"certain": not self._uncertain, "caught": self._caught > 0, "never": self._never > 0, "deferred": self._depth > 0}
        self.found.append(Import(module, scope=tuple(self._scope), **where, **fields))

    @contextlib.contextmanager
    def _inside(self, *, caught: bool = False, never: bool = False) -> Iterator[None]:
        self._uncertain += 1
        self._caught += caught
        self._never += never
        yield
        self._uncertain -= 1
        self._caught -= caught
        self._never -= never

    def _visit_all(self, *parts: Any) -> None:
        for part in parts:
            for node in part if isinstance(part, list) else [part]:
                if node is not None:
                    self.visit(node)

    # Functions and classes.

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        self._visit_all(getattr(node, "decorator_list", []), node.args, getattr(node, "returns", None))
        self._depth += 1
        self._visit_all(node.body)
        self._depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_Lambda = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all(node.decorator_list, node.bases, node.keywords)
        self._scope.append(node.name)
        self._visit_all(node.body)
        self._scope.pop()

    # Imports.

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, binds=alias.asname or alias.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parts = self._package.split(".") if self._package else []
            if node.level - 1 >= len(parts):
                return
            base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
        for alias in node.names:
            if alias.name == "*":
                self._add(base, member="*")
                continue
            name = alias.asname or alias.name
            self._add(base, binds=name, member=alias.name)
            self._add(f"{base}.{alias.name}", binds=name, maybe_name=True)

    def visit_Call(self, node: ast.Call) -> None:
        """importlib.import_module("a.b") and __import__("a.b") with a literal name."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
            target = node.args[0].value
            if isinstance(target, str) and target.strip("."):
                with contextlib.suppress(ImportError):  # more dots than packages
                    self._add(importlib.util.resolve_name(target, self._package) if target.startswith(".") else target)
        self.generic_visit(node)

    # What may not run.

    def visit_Try(self, node: ast.Try) -> None:
        with self._inside(caught=any(_goes_on(handler) for handler in node.handlers)):
            self._visit_all(node.body)
        with self._inside():
            self._visit_all(node.handlers, node.orelse)
        self._visit_all(node.finalbody)

    visit_TryStar = visit_Try

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        self._visit_all(node.items)
        with self._inside(caught=any(_suppresses(item.context_expr) for item in node.items)):
            self._visit_all(node.body)

    visit_AsyncWith = visit_With

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        self._visit_all(node.test)
        checking = node.test.attr if isinstance(node.test, ast.Attribute) else getattr(node.test, "id", "")
        with self._inside(never=checking == "TYPE_CHECKING"):
            self._visit_all(node.body)
        with self._inside():
            self._visit_all(node.orelse)

    visit_IfExp = visit_If

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self._visit_all(node.values[0])
        with self._inside():
            self._visit_all(node.values[1:])

    def visit_While(self, node: ast.While) -> None:
        with self._inside():
            self.generic_visit(node)

    visit_For = visit_AsyncFor = visit_Match = visit_While  # type: ignore[assignment]


def _goes_on(handler: ast.ExceptHandler) -> bool:
    """Whether it takes an ImportError, and lets the code go on."""
    return _names_import_error(handler.type) and not any(isinstance(statement, ast.Raise) for statement in handler.body)


def _names_import_error(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    if isinstance(kind, ast.Tuple):
        return any(_names_import_error(each) for each in kind.elts)
    return (kind.attr if isinstance(kind, ast.Attribute) else getattr(kind, "id", "")) in _CAUGHT


def _suppresses(manager: ast.expr) -> bool:
    if not isinstance(manager, ast.Call):
        return False
    name = manager.func.attr if isinstance(manager.func, ast.Attribute) else getattr(manager.func, "id", "")
    return name == "suppress" and any(_names_import_error(argument) for argument in manager.args)
