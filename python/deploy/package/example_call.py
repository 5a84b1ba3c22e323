"""The example that save() is given: whether it can be a call of the object, and in which grad mode it runs."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deploy._deploy import ErrorCode
from deploy._error import Error
from deploy.package import examples, grad_modes


def check(obj: Any, method: str, args: Any, kwargs: Any, tolerance: Any) -> None:
    """Error INVALID_ARGUMENT for what cannot be a call of the object."""
    if args is not None and (isinstance(args, (str, bytes, bytearray)) or not isinstance(args, Sequence)):
        shape = getattr(args, "shape", None)
        what = f"{type(args).__name__}{'' if shape is None else f' of shape {tuple(shape)}'}"
        why = f"example_args: found a {what}, expected a tuple of the call's arguments; for one argument example_args=(x,)"
        raise Error(ErrorCode.INVALID_ARGUMENT, why)
    if kwargs is not None and not (isinstance(kwargs, Mapping) and all(isinstance(name, str) for name in kwargs)):
        why = f"example_kwargs: found {kwargs!r:.200}, expected a dict from the names of arguments to their values"
        raise Error(ErrorCode.INVALID_ARGUMENT, why)
    if tolerance is not None and not (isinstance(tolerance, (int, float)) and 0 <= tolerance < float("inf")):
        raise Error(ErrorCode.INVALID_ARGUMENT, f"tolerance: found {tolerance!r:.200}, expected a number from 0, or None")
    if args is None and kwargs is None:
        return
    target = obj if method == "__call__" else getattr(obj, method, None)
    if not callable(target):
        names = [name for name in dir(obj) if not name.startswith("_") and callable(getattr(obj, name, None))]
        near = difflib.get_close_matches(method, names, n=3, cutoff=0.5) or names[:3]
        has = f"; it has {', '.join(near)}" if near else ""
        what = "cannot be called: the example needs a `method`" if method == "__call__" else f"has no method {method!r}"
        raise Error(ErrorCode.INVALID_ARGUMENT, f"the object, a {type(obj).__name__}, {what}{has}")


@dataclasses.dataclass
class Call:
    """The example. `grad_mode` None: to be found out."""

    obj: Any
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    grad_mode: str | None

    def run(self, inputs: Callable[[], Any], start_over: Callable[[], None], notes: list[str]) -> Any:
        """The result. `inputs` makes (args, kwargs) for one call; `start_over` undoes what a call changed."""
        try:
            return self._run(self.grad_mode or grad_modes.DEFAULT, inputs())
        except RuntimeError as error:
            if self.grad_mode is not None or not grad_modes.is_reason(error):
                raise
        self.grad_mode = "enable_grad"
        notes.append("the example needs gradients, so calls of the package run under torch.enable_grad() (grad_mode)")
        start_over()
        return self._run(self.grad_mode, inputs())

    def _run(self, mode: str, inputs: Any) -> Any:
        return grad_modes.within(mode, examples.call, self.obj, self.method, *inputs)
