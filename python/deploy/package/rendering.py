"""The text of `python -m deploy inspect`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploy.package.contents import Contents, Node

DEPTH = 4


def size_text(count: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def render(contents: Contents, depth: int = DEPTH) -> str:
    lines = [*_head(contents), "", *_sizes(contents), "", *_code(contents), "", *_externs(contents)]
    for record, tree in contents.pickles.items():
        lines += ["", record, *_tree(tree, 1, depth)]
    return "\n".join(lines)


def _head(contents: Contents) -> Iterator[str]:
    manifest = contents.manifest
    yield f"{contents.path}: {size_text(sum(contents.sizes.values()))}, {len(contents.sizes)} records"
    if manifest is None:
        yield "  no manifest: a plain torch.package file"
        return
    torch = f", torch {manifest['torch']}" if manifest.get("torch") else ""
    yield f"  written by {manifest['writer']} (format {manifest['format']}) with Python {manifest['python']}{torch}"
    for entry in manifest["callables"]:
        call = "" if entry["method"] == "__call__" else f".{entry['method']}"
        yield f"  {entry['package']}/{entry['resource']}: {entry['type']}{call}({_signature(entry['signature'])})"
    for example in manifest["examples"]:
        yield f"  example: {'/'.join(example['inputs'])}{'' if example['outputs'] else ' (result not recorded)'}"


def _signature(parameters: list[dict[str, Any]]) -> str:
    marks = {"var_positional": "*", "var_keyword": "**"}
    return ", ".join(f"{marks.get(p['kind'], '')}{p['name']}{'=...' if p['has_default'] else ''}" for p in parameters)


def _sizes(contents: Contents) -> Iterator[str]:
    groups: dict[str, list[int]] = {}
    interned = [(entry["distribution"], entry["modules"]) for entry in (contents.manifest or {}).get("interned", ())]
    for record, size in contents.sizes.items():
        top = record.partition("/")[0]
        owner = next((name for name, tops in interned if top in tops or top.startswith(f"{name.replace('-', '_')}-")), None)
        if record.startswith(".data/") and record.endswith(".storage"):
            part = "tensors"
        elif record in contents.pickles:
            part = "pickles"
        elif record.startswith(".data/") or record == "byteorder":
            part = "bookkeeping"
        else:
            part = owner or "own code and data"
        groups.setdefault(part, []).append(size)
    yield "size"
    for part, sizes in sorted(groups.items(), key=lambda group: -sum(group[1])):
        yield f"  {size_text(sum(sizes)):>10}  {part} ({len(sizes)} records)"


def _code(contents: Contents) -> Iterator[str]:
    yield "code inside"
    manifest = contents.manifest
    if manifest is None:
        modules = sorted(name for name in contents.sizes if name.endswith(".py"))
        yield from (f"  {name}  {size_text(contents.sizes[name])}" for name in modules)
        return
    for entry in manifest["interned"]:
        yield f"  {entry['distribution']} {entry['version']} ({', '.join(entry['modules'])}): {entry['reason']}"
    for module in manifest["own_modules"]:
        path = module.replace(".", "/")
        record = next((name for name in (f"{path}.py", f"{path}/__init__.py") if name in contents.sizes), None)
        yield f"  {module}  {size_text(contents.sizes[record]) if record else ''}"


def _externs(contents: Contents) -> Iterator[str]:
    yield "from the environment"
    if contents.manifest is None:
        yield f"  {', '.join(contents.externs)}"
        return
    library = []
    for entry in contents.manifest["externs"]:
        if entry.get("stdlib"):
            library.append(entry["module"])
        else:
            yield f"  {entry['module']}: {entry['distribution'] or 'no distribution'} {entry['version'] or ''}".rstrip()
    if library:
        yield f"  standard library: {', '.join(library)}"


def _tree(node: Node, level: int, depth: int) -> Iterator[str]:
    total = f"  {size_text(node.nbytes)}" if node.nbytes else ""
    yield f"{'  ' * level}{node.name}: {node.kind}{total}"
    if level > depth:
        hidden = sum(1 for _ in node.all_tensors())
        if hidden:
            yield f"{'  ' * (level + 1)}... {hidden} tensors"
        return
    for name, tensor in node.tensors:
        yield f"{'  ' * (level + 1)}{name}  {tensor}  {size_text(tensor.nbytes)}"
    for part in node.parts:
        yield from _tree(part, level + 1, depth)
