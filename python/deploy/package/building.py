"""What `pack` is given to pack: the object that module:function makes, with its example call.

A mistake of the caller is an Error of one line. What the caller's own code raises has a traceback, which begins at that code.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from deploy._deploy import ErrorCode
from deploy._error import Error

_FORMS = "the object, or (object, example_args), or (object, example_args, example_kwargs)"


def build(target: str) -> tuple[Any, Any, Any]:
    """(object, example_args, example_kwargs) of a module:function or module:object. Error INVALID_ARGUMENT, NOT_FOUND."""
    module_name, colon, name = target.partition(":")
    if not colon or not name or not module_name:
        raise _wrong(target, "expected module:function, as in my_module:build")
    if module_name.endswith(".py") or os.sep in module_name:
        wanted = module_name.removesuffix(".py").strip(os.sep + ".").replace(os.sep, ".")
        raise _wrong(target, f"expected a module's name, not a file's: {wanted}:{name}, with its folder on PYTHONPATH")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _module(target, module_name)
    made: Any = module
    for part in name.split("."):
        made = _attribute(target, made, part)
    torch = sys.modules.get("torch")
    if not callable(made) or isinstance(made, type) or (torch is not None and isinstance(made, torch.nn.Module)):
        return made, None, None
    _check_arguments(target, name, made)
    return _parts(name, made())


def _wrong(target: str, why: str, code: ErrorCode = ErrorCode.INVALID_ARGUMENT) -> Error:
    return Error(code, f"{target!r}: {why}")


def _module(target: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # of an import in that module
        why = f"no module {error.name!r}{_similar_file(error.name)}; looked in {_looked_in()}"
        raise _wrong(target, why, ErrorCode.NOT_FOUND) from None
    except SyntaxError as error:
        raise _wrong(target, f"{error.filename}:{error.lineno}: {error.msg}") from None


def _looked_in() -> str:
    return f"the current folder {os.getcwd()!r}, and where Python imports from"


def _similar_file(name: str) -> str:
    here = [entry.removesuffix(".py") for entry in os.listdir() if entry.endswith(".py") or os.path.isdir(entry)]
    near = difflib.get_close_matches(name, here, n=1)
    return f" (there is {near[0]!r})" if near else ""


def _attribute(target: str, owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        names = [each for each in dir(owner) if not each.startswith("_")]
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"; similar: {', '.join(near)}" if near else ""
        what = f"module {owner.__name__!r}" if isinstance(owner, ModuleType) else f"{type(owner).__name__}"
        raise _wrong(target, f"{what} has no {name!r}{hint}", ErrorCode.NOT_FOUND) from None


def _check_arguments(target: str, name: str, function: Any) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # it has none that Python knows
        return
    try:
        signature.bind()
    except TypeError as error:
        raise _wrong(target, f"{name} is called without arguments, and takes {signature} ({error})") from None


def _parts(name: str, made: Any) -> tuple[Any, Any, Any]:
    if made is None:
        raise Error(ErrorCode.INVALID_ARGUMENT, f"{name}() returned None, expected {_FORMS}")
    if type(made) is not tuple or not 2 <= len(made) <= 3:
        return made, None, None
    obj, args, kwargs = made if len(made) == 3 else (*made, None)
    if args is not None and not isinstance(args, (tuple, list)):
        what = type(args).__name__
        raise Error(
            ErrorCode.INVALID_ARGUMENT,
            f"{name}() returned a tuple whose second item is a {what}, expected {_FORMS}: for one argument `return obj, (x,)`, and "
            f"to pack a tuple itself `return the_tuple, None`",
        )
    if kwargs is not None and not isinstance(kwargs, Mapping):
        what = type(kwargs).__name__
        raise Error(ErrorCode.INVALID_ARGUMENT, f"{name}() returned a tuple whose third item is a {what}, expected {_FORMS}")
    return obj, args, kwargs
