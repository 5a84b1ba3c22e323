"""The attribute path of an object inside another ("model.encoder.layers[0].act"), from the chain of what a pickler was saving.

The chain has more than attributes: a pickler goes from an object to its state (a dict), from a module to its `_modules`, from a
functools.partial to a tuple that only its __reduce__ knows. Those are passed over, or told as the attribute that they stand for.
"""

from __future__ import annotations

from typing import Any

_CONTAINERS = (dict, list, tuple, set, frozenset)
_TABLES = ("_modules", "_parameters", "_buffers")


def attribute_path(root: str, chain: list[Any]) -> str:
    """`chain` begins with the object that is called `root`; each element was saved on the way to the next."""
    path = root
    owner: Any = None  # the object whose state or __reduce__ the containers that follow belong to
    table = False  # the container is one of a torch module's tables
    for parent, child in zip(chain, chain[1:], strict=False):
        if not isinstance(parent, _CONTAINERS) or _is_namedtuple(parent):
            owner, table = (None, False) if isinstance(child, type) else (parent, False)
            name = None if isinstance(child, dict) and child is getattr(parent, "__dict__", None) else _attribute(parent, child)
            if name is not None and not isinstance(child, _CONTAINERS):
                path += f".{name}"
            continue
        name = _attribute(owner, child) if owner is not None and not table else None
        key = _key(parent, child)
        if table:
            path += f"[{key}]" if isinstance(key, str) and key.isdigit() else f".{key}"
            owner, table = None, False
        elif owner is not None and key in _TABLES:
            table = True
        elif name is not None:
            path += f".{name}"
            owner = None
        elif owner is None:
            path += _subscript(parent, key)
        elif isinstance(parent, dict) and isinstance(key, str):
            path += f".{key}"
            owner = None
    return path


def _is_namedtuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _attribute(owner: Any, child: Any) -> str | None:
    """The attribute of `owner` that is `child`."""
    fields = getattr(owner, "__dict__", None)
    for name, value in fields.items() if isinstance(fields, dict) else ():
        if value is child:
            return name
    slots = [slot for kind in type(owner).__mro__ for slot in _as_tuple(getattr(kind, "__slots__", ()))]
    for name in [
        *slots,
        *getattr(owner, "_fields", ()),
        "func",
        "args",
        "keywords",
        "__func__",
        "__self__",
        "default_factory",
        "fget",
    ]:
        try:
            if getattr(owner, name) is child:
                return name
        except Exception:  # a property may raise anything
            continue
    return None


def _as_tuple(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _key(container: Any, child: Any) -> Any:
    """Under which key or index of `container` the child is."""
    items = container.items() if isinstance(container, dict) else enumerate(container)
    return next((key for key, value in items if value is child), None)


def _subscript(container: Any, key: Any) -> str:
    if key is None:
        return "{key}" if isinstance(container, dict) else "{member}"
    return f"[{key!r}]"
