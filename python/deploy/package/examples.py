"""Example calls: what they are, how they are made repeatable, and the names of a callable's arguments."""

from __future__ import annotations

import builtins
import contextlib
import inspect
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SEED = 20


def seed(value: int = SEED) -> None:
    """Random numbers of a call that draws some are the same where it is recorded and where it is verified."""
    random.seed(value)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(value)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(value)


def threads() -> int | None:
    """torch's number of threads, which has a part in how sums are rounded; None without torch."""
    return sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None


@contextlib.contextmanager
def observed_imports() -> Iterator[set[tuple[str, str]]]:
    """The import statements that run meanwhile: (module that has the statement, top-level name that it imports)."""
    found: set[tuple[str, str]] = set()
    original = builtins.__import__

    def observe(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if level == 0 and globals:
            found.add((globals.get("__name__", ""), name.partition(".")[0]))
        return original(name, globals, locals, fromlist, level)

    builtins.__import__ = observe
    try:
        yield found
    finally:
        builtins.__import__ = original


def call(obj: Any, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    seed()
    target = obj if method == "__call__" else getattr(obj, method)
    return target(*args, **kwargs)


def signature(obj: Any, method: str) -> list[dict[str, Any]]:
    """[{"name", "kind", "has_default"}] of what a caller gives; empty where it cannot be told."""
    target = getattr(obj, method, None)
    torch = sys.modules.get("torch")
    if method == "__call__" and torch is not None and isinstance(obj, torch.nn.Module):
        target = obj.forward
    elif method == "__call__" and not inspect.isroutine(obj):
        target = getattr(obj, "__call__", None)  # noqa: B004  # the method itself is wanted
    try:
        parameters = inspect.signature(target).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return []
    return [
        {"name": p.name, "kind": p.kind.name.lower(), "has_default": p.default is not inspect.Parameter.empty} for p in parameters
    ]
