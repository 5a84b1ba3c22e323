"""The code of `__main__`, as a module that can be imported elsewhere.

A script that makes a model and packs it cannot be imported: that would train and pack again. What its classes need can: the
statements that bind a name that is needed (an import, a class, a function, a constant), those that these need in turn, and nothing
else. All other lines are blank, so that tracebacks and inspect.getsource still tell the script's own line numbers.
"""

from __future__ import annotations

import ast
import importlib.util
import keyword
import os
import pathlib
import sys

from deploy.package.sources import locate


def packaged_name() -> str:
    """What `__main__` is called in a package: as it would be when imported, if that is free."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":  # python -m
        return spec.name
    file = getattr(main, "__file__", None)
    stem = pathlib.Path(file).stem if file else "deploy_main"
    if not stem.isidentifier() or keyword.iskeyword(stem) or stem == "__main__":
        return "deploy_main"
    other = locate(stem)
    taken = stem in sys.stdlib_module_names or (other is not None and not _same_file(other.file, file))
    return f"{stem}_main" if taken else stem


def _same_file(one: str | None, other: str | None) -> bool:
    return bool(one and other and os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other))


def source() -> str | None:
    """The text of the script or of a notebook's cells; None where Python was given no file."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file and os.path.isfile(file):
        return importlib.util.decode_source(pathlib.Path(file).read_bytes())
    cells = getattr(main, "In", None)
    if isinstance(cells, list):
        return "\n".join(cell for cell in cells if isinstance(cell, str) and _parses(cell))
    return None


def folder() -> str | None:
    """Where the script is."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return os.path.dirname(os.path.abspath(file)) if file else None


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def slice_of(text: str, needed: set[str]) -> str:
    """The lines of `text` that `needed` names need, at their line numbers."""
    lines = text.split("\n")  # Python's lines, which splitlines() ends at form feeds as well
    statements = [statement for node in _top_level(ast.parse(text).body) for statement in _statements_of(node, lines)]
    wanted = set(needed)
    kept: set[int] = set()
    changed = True
    while changed:
        changed = False
        for index, statement in enumerate(statements):
            if index not in kept and (statement.always or wanted & statement.binds):
                kept.add(index)
                wanted |= statement.uses
                changed = True
    out = [""] * len(lines)
    for index in sorted(kept):
        for number, line in enumerate(statements[index].text, statements[index].line - 1):
            out[number] = f"{out[number]}; {line}" if out[number] else line
    return "\n".join(out).rstrip() + "\n"


def _top_level(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements without those under `if __name__ == "__main__"`."""
    found: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.If) and _asks_for_main(node.test):
            continue
        found.append(node)
    return found


def _asks_for_main(test: ast.expr) -> bool:
    if not isinstance(test, ast.Compare) or len(test.comparators) != 1:
        return False
    sides = [test.left, test.comparators[0]]
    name = any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
    return name and any(isinstance(side, ast.Constant) and side.value == "__main__" for side in sides)


def _statements_of(node: ast.stmt, lines: list[str]) -> list[_Statement]:
    """One, or one for each name that an import binds: `import torch, deploy.package` goes in as `import torch`."""
    if not isinstance(node, (ast.Import, ast.ImportFrom)) or len(node.names) == 1:
        return [_Statement(node, node.lineno, _text_of(node, lines))]
    found = []
    for alias in node.names:
        single = ast.Import([alias]) if isinstance(node, ast.Import) else ast.ImportFrom(node.module, [alias], node.level)
        found.append(_Statement(single, alias.lineno, [ast.unparse(single)]))
    return found


def _text_of(node: ast.stmt, lines: list[str]) -> list[str]:
    """The lines of a statement, without other statements that share its first or last line."""
    first = _first_line(node)
    text = lines[first - 1 : node.end_lineno]
    after = text[-1].encode()[node.end_col_offset :].decode()
    if after.lstrip().startswith(";"):
        text[-1] = text[-1][: len(text[-1]) - len(after)]
    if first == node.lineno:
        text[0] = text[0].encode()[node.col_offset :].decode()
    return text


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])


class _Statement:
    def __init__(self, node: ast.stmt, line: int, text: list[str]) -> None:
        self.line = min(line, _first_line(node)) if hasattr(node, "lineno") else line
        self.text = text
        self.binds = set(_bound(node))
        self.uses = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        star = isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        self.always = star or future


def _bound(node: ast.AST) -> list[str]:
    """Names that a statement binds or changes in the module; not those within functions and classes."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Lambda):
        return []
    if isinstance(node, ast.Name):
        return [node.id] if isinstance(node.ctx, (ast.Store, ast.Del)) else []
    if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
        root: ast.AST = node
        while isinstance(root, (ast.Attribute, ast.Subscript)):
            root = root.value
        return [root.id] if isinstance(root, ast.Name) else []
    return [name for child in ast.iter_child_nodes(node) for name in _bound(child)]
