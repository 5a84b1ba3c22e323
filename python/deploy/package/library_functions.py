"""Functions that libraries put into models when these are first called or trained, and that are left out of packages.

They are local functions, which have no name to be found by, so a model that has them cannot be pickled; and nobody misses them:

- transformers hooks the layers of a model at its first call with output_hidden_states=True or the like (some models ask for it
  themselves, at every call), and notes in the model that it did. Without the note it hooks them again.
- transformers and peft hook the embeddings of a model that is to be trained, so that their outputs have gradients.
- accelerate puts a function in the place of `forward` that moves inputs to where the weights are, and one in that of `to` that
  warns. Inside, all of a model is where its tensors were packed from.
- Libraries add functions that rename the weights of old checkpoints (torch's weight_norm). A packaged model loads no checkpoint.

Nothing here changes the caller's object.
"""

from __future__ import annotations

import copyreg
import pathlib
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from deploy.package.names import is_of_a_library

_CAPTURING = "transformers.utils.output_capturing"
_NOTE = "_output_capturing_hooks_installed"
_FOR_TRAINING = "make_inputs_require_grads"
_OF_CHECKPOINTS = ("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", "_state_dict_hooks", "_state_dict_pre_hooks")
# Those that need other keys than an id, and that are told apart by the hooks of the same id in `_forward_hooks`.
_COMPANIONS = {
    "_forward_hooks_with_kwargs": "_forward_hooks",
    "_forward_hooks_always_called": "_forward_hooks",
    "_forward_pre_hooks_with_kwargs": "_forward_pre_hooks",
}


_HOOK, _FORWARD = "_hf_hook", "_old_forward"  # accelerate's attributes: its hook, and the method that it took the place of


def _without_moving(state: dict[str, Any]) -> dict[str, Any]:
    """A module's state without what accelerate put there, if that only moves tensors between devices."""
    hook = state.get(_HOOK)
    hooks = getattr(hook, "hooks", [hook])
    if not all(type(each).__name__ == "AlignDevicesHook" and not getattr(each, "offload", True) for each in hooks):
        return state
    kept = {name: value for name, value in state.items() if name not in (_HOOK, _FORWARD) and not _is_of_accelerate(value)}
    forward = state.get(_FORWARD)
    if forward is not None and getattr(forward, "__func__", None) is not getattr(
        type(getattr(forward, "__self__", None)), "forward", None
    ):
        kept["forward"] = forward  # the caller had bound another one
    return kept


def _is_of_accelerate(value: Any) -> bool:
    """By its code: it bears the name and module of the method that it took the place of."""
    code = getattr(getattr(value, "func", value), "__code__", None)
    return code is not None and "<locals>" in code.co_qualname and "accelerate" in pathlib.PurePath(code.co_filename).parts


def _is_left_out(table: str, hook: Any) -> bool:
    function = getattr(hook, "hook", hook)
    name = getattr(function, "__qualname__", "")
    if "<locals>" not in name:
        return False
    if table in _OF_CHECKPOINTS:
        return is_of_a_library(function)
    module = getattr(function, "__module__", "")
    return module == _CAPTURING or (name.endswith(f".{_FOR_TRAINING}") and is_of_a_library(function))


def _left_out(attributes: dict[str, Any]) -> dict[str, list[Any]]:
    """{table of hooks: keys} of what is left out of a module with these attributes."""
    found = {}
    for table, hooks in attributes.items():
        if table.endswith("_hooks") and isinstance(hooks, dict) and hooks:
            keys = [key for key, hook in hooks.items() if _is_left_out(table, hook)]
            if keys:
                found[table] = keys
    for table, of in _COMPANIONS.items():
        keys = [key for key in found.get(of, ()) if key in attributes.get(table, ())]
        if keys:
            found[table] = keys
    return found


class Filter:
    """The states of modules without what is left out. A table that is filtered stays one object, so that the handles of its other
    hooks still belong to it."""

    def __init__(self) -> None:
        self._tables: dict[int, tuple[Any, Any]] = {}  # id -> the table (kept alive), the filtered one

    def applies(self, module: torch.nn.Module) -> bool:
        return not vars(module).keys().isdisjoint((_NOTE, _HOOK)) or bool(_left_out(vars(module)))

    def state(self, state: Any) -> Any:
        if not isinstance(state, dict):
            return state
        kept = {name: value for name, value in _without_moving(state).items() if name != _NOTE}
        for table, keys in _left_out(state).items():
            kept[table] = self._table(state[table], keys)
        return kept

    def reduce_handle(self, handle: RemovableHandle) -> Any:
        tables = [handle.hooks_dict_ref(), *(reference() for reference in handle.extra_dict_ref or ())]
        keys = [key for key, hook in (tables[0] or {}).items() if _is_left_out("", hook)]
        if not keys and not any(id(table) in self._tables for table in tables):
            return NotImplemented
        first, *others = (table if table is None else self._table(table, keys) for table in tables)
        return copyreg.__newobj__, (RemovableHandle,), (first, handle.id, tuple(others))

    def _table(self, table: Any, keys: Iterable[Any]) -> Any:
        if id(table) not in self._tables:
            self._tables[id(table)] = table, type(table)((key, hook) for key, hook in table.items() if key not in keys)
        return self._tables[id(table)][1]
