"""The text of `python -m deploy inspect`.

All that comes out of the file is escaped and cut to a line's length, and long lists end with the number of what is left out: the
file may be anybody's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from deploy._text import shown
from deploy.package.contents import tops_of_libraries

if TYPE_CHECKING:
    from deploy.package.contents import Contents, Node

DEPTH = 4
_MOST_ENTRIES = 2000  # of a list
_MOST_LINES = 50_000  # of a tree


def size_text(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def render(contents: Contents, depth: int = DEPTH) -> str:
    lines = [*_head(contents), "", *_sizes(contents), "", *_code(contents), "", *_externs(contents)]
    records = [*contents.pickles, *contents.not_shown]
    for record in records[:_MOST_ENTRIES]:
        lines += ["", shown(record)]
        if record in contents.not_shown:
            lines.append(f"  too large to be shown: {contents.not_shown[record]}")
        else:
            lines += _at_most(_tree(contents.pickles[record], depth), _MOST_LINES, "lines")
    if len(records) > _MOST_ENTRIES:
        lines += ["", f"... {len(records) - _MOST_ENTRIES:,} more pickles"]
    return "\n".join(lines)


def _at_most(lines: Iterable[str], most: int, what: str) -> Iterator[str]:
    """Up to `most` of them; the others are counted."""
    rest = iter(lines)
    yield from itertools.islice(rest, most)
    left = sum(1 for _ in rest)
    if left:
        yield f"  ... {left:,} more {what}"


def _list(entry: dict[str, Any], name: str) -> list[Any]:
    """A member of the manifest, all of which may be missing."""
    return entry.get(name) or []


def _text(entry: dict[str, Any], name: str, default: str = "?") -> str:
    return shown(str(entry.get(name) or default))


def _names(names: Iterable[Any]) -> str:
    return ", ".join(shown(str(name)) for name in itertools.islice(names, 100))


def _head(contents: Contents) -> Iterator[str]:
    manifest = contents.manifest
    yield f"{shown(contents.path, 4096)}: {size_text(sum(contents.sizes.values()))}, {len(contents.sizes)} records"
    if manifest is None:
        yield "  no manifest: a plain torch.package file"
        return
    torch = f", torch {_text(manifest, 'torch')}" if manifest.get("torch") else ""
    written = f"{_text(manifest, 'writer')} (format {manifest['format']}) with Python {_text(manifest, 'python')}"
    yield f"  written by {written}{torch}"
    yield from _at_most(map(_callable, _list(manifest, "callables")), _MOST_ENTRIES, "callables")
    yield from _at_most(map(_example, _list(manifest, "examples")), _MOST_ENTRIES, "examples")


def _callable(entry: dict[str, Any]) -> str:
    method = _text(entry, "method", "__call__")
    call = "" if method == "__call__" else f".{method}"
    of = f"{_text(entry, 'package')}/{_text(entry, 'resource')}: {_text(entry, 'type')}"
    mode = f", {_text(entry, 'grad_mode')}" if entry.get("grad_mode") else ""
    return f"  {of}{call}({_signature(_list(entry, 'signature'))}){mode}"


def _example(example: dict[str, Any]) -> str:
    return (
        f"  example: {'/'.join(map(shown, _list(example, 'inputs')))}{'' if example.get('outputs') else ' (result not recorded)'}"
    )


def _signature(parameters: list[dict[str, Any]]) -> str:
    marks = {"var_positional": "*", "var_keyword": "**"}
    return _names(
        f"{marks.get(p.get('kind'), '')}{p.get('name') or '?'}{'=...' if p.get('has_default') else ''}" for p in parameters
    )


def _sizes(contents: Contents) -> Iterator[str]:
    groups: dict[str, list[int]] = {}
    owners = tops_of_libraries(contents.manifest)
    # lib-1.0.dist-info lies beside the modules.
    metadata = {name.replace("-", "_"): name for name in owners.values()}
    for record, size in contents.sizes.items():
        top = record.partition("/")[0]
        owner = owners.get(top) or metadata.get(top.partition("-")[0] if "-" in top else "")
        if record.startswith(".data/") and record.endswith(".storage"):
            part = "tensors"
        elif record in contents.pickles or record in contents.not_shown:
            part = "pickles"
        elif record.startswith(".data/") or record == "byteorder":
            part = "bookkeeping"
        else:
            part = owner or "own code and data"
        groups.setdefault(part, []).append(size)
    yield "size"
    ordered = sorted(groups.items(), key=lambda group: -sum(group[1]))
    lines = (f"  {size_text(sum(sizes)):>10}  {shown(part)} ({len(sizes)} records)" for part, sizes in ordered)
    yield from _at_most(lines, _MOST_ENTRIES, "parts")


def _code(contents: Contents) -> Iterator[str]:
    yield "code inside"
    manifest = contents.manifest
    if manifest is None:
        modules = sorted(name for name in contents.sizes if name.endswith(".py"))
        lines = (f"  {shown(name)}  {size_text(contents.sizes[name])}" for name in modules)
        yield from _at_most(lines, _MOST_ENTRIES, "modules")
        return
    yield from _at_most(map(_library, _list(manifest, "interned")), _MOST_ENTRIES, "distributions")
    own = (_own_module(contents, module) for module in _list(manifest, "own_modules"))
    yield from _at_most(own, _MOST_ENTRIES, "modules")


def _library(entry: dict[str, Any]) -> str:
    modules = _names(_list(entry, "modules"))
    left_out = _list(entry, "left_out")
    without = f", without {len(left_out)} of its files ({_names(left_out[:1])})" if left_out else ""
    reason = _text(entry, "reason", "no reason given")
    return f"  {_text(entry, 'distribution')} {_text(entry, 'version')} ({modules}): {reason}{without}"


def _own_module(contents: Contents, module: str) -> str:
    path = module.replace(".", "/")
    record = next((name for name in (f"{path}.py", f"{path}/__init__.py") if name in contents.sizes), None)
    return f"  {shown(module)}  {size_text(contents.sizes[record]) if record else ''}"


def _externs(contents: Contents) -> Iterator[str]:
    yield "from the environment"
    if contents.manifest is None:
        left = len(contents.externs) - _MOST_ENTRIES
        names = ", ".join(map(shown, contents.externs[:_MOST_ENTRIES]))
        yield f"  {names or 'nothing'}{f' and {left:,} more' if left > 0 else ''}"
        return
    externs = _list(contents.manifest, "externs")
    others = (_extern(entry) for entry in externs if not entry.get("stdlib"))
    yield from _at_most(others, _MOST_ENTRIES, "modules")
    library = [_text(entry, "module") for entry in externs if entry.get("stdlib")]
    if library:
        left = len(library) - _MOST_ENTRIES
        yield f"  standard library: {', '.join(library[:_MOST_ENTRIES])}{f' and {left:,} more' if left > 0 else ''}"


def _extern(entry: dict[str, Any]) -> str:
    return f"  {_text(entry, 'module')}: {_text(entry, 'distribution', 'no distribution')} {_text(entry, 'version', '')}".rstrip()


def _tree(top: Node, depth: int) -> Iterator[str]:
    waiting = [(top, 1)]
    while waiting:
        node, level = waiting.pop()
        total = f"  {size_text(node.nbytes)}" if node.nbytes else ""
        indent = "  " * min(level, 100)
        yield f"{indent}{shown(node.name)}: {shown(node.kind)}{total}"
        if level > depth:
            hidden = node.count_tensors()
            if hidden:
                yield f"{indent}  ... {hidden} tensors"
            continue
        for name, tensor in node.tensors:
            yield f"{indent}  {shown(name)}  {shown(str(tensor))}  {size_text(tensor.nbytes)}"
        waiting += [(part, level + 1) for part in reversed(node.parts)]
