"""Example calls: what they are, how they are made repeatable, and the names of a callable's arguments."""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import importlib.util
import inspect
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

SEED = 20


def seed(value: int = SEED) -> None:
    """Random numbers of a call that draws some are the same where it is recorded and where it is verified."""
    random.seed(value)
    for library in ("numpy", "torch"):
        if library in sys.modules:
            _seed_library(library, value)


def _seed_library(library: str, value: int) -> None:
    if library == "numpy":
        sys.modules[library].random.seed(value)
    else:
        sys.modules[library].manual_seed(value)


@contextlib.contextmanager
def random_numbers_kept() -> Iterator[None]:
    """At the end the process's generators of random numbers are where they were."""
    put_back = [_put_back_of(library) for library in ("random", "numpy", "torch") if library in sys.modules]
    try:
        yield
    finally:
        for function in put_back:
            function()


def _put_back_of(library: str) -> Callable[[], None]:
    module = sys.modules[library]
    if library == "random":
        return functools.partial(module.setstate, module.getstate())
    if library == "numpy":
        return functools.partial(module.random.set_state, module.random.get_state())
    state, cuda = module.get_rng_state(), module.cuda.get_rng_state_all() if module.cuda.is_initialized() else None

    def put_back() -> None:
        module.set_rng_state(state)
        if cuda is not None:
            module.cuda.set_rng_state_all(cuda)

    return put_back


def threads() -> int | None:
    """torch's number of threads, which has a part in how sums are rounded; None without torch."""
    return sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None


@contextlib.contextmanager
def observed_imports() -> Iterator[set[tuple[str, str]]]:
    """What is imported meanwhile: (module that has the import, module that it imports). `from a import b` counts as one of a and
    one of a.b. Libraries of random numbers that are imported for the first time are seeded at once, as those before were."""
    found: set[tuple[str, str]] = set()
    statement, function = builtins.__import__, importlib.import_module
    unseeded = {"numpy", "torch"} - set(sys.modules)
    put_back = []

    def note(importer: str, name: str, members: Any = ()) -> None:
        found.add((importer, name))
        found.update((importer, f"{name}.{member}") for member in members or () if member != "*")
        for library in list(unseeded):
            if _is_complete(library):
                unseeded.discard(library)
                put_back.append(_put_back_of(library))
                _seed_library(library, SEED)

    def observe(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        module = statement(name, globals, locals, fromlist, level)
        if globals:
            full = importlib.util.resolve_name("." * level + name, _package_of(globals)) if level else name
            note(globals.get("__name__", ""), full, fromlist)
        return module

    def observe_function(name: str, package: str | None = None) -> Any:
        module = function(name, package)
        note(sys._getframe(1).f_globals.get("__name__", ""), module.__name__)
        return module

    builtins.__import__, importlib.import_module = observe, observe_function
    try:
        yield found
    finally:
        builtins.__import__, importlib.import_module = statement, function
        for each in put_back:
            each()


def _package_of(namespace: Mapping[str, Any]) -> str:
    name = namespace.get("__name__", "")
    return namespace.get("__package__") or (name if "__path__" in namespace else name.rpartition(".")[0])


def _is_complete(library: str) -> bool:
    module = sys.modules.get(library)
    return module is not None and not getattr(module.__spec__, "_initializing", False)


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
