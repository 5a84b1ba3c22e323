"""One call of a package from the command line: its arguments from an example, or from JSON, .npy and .pt."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import deploy
from deploy._deploy import ErrorCode, read_manifest
from deploy._error import Error
from deploy.package.described import described
from deploy.package.files import check_input

# Runs inside: a call whose result is told as text, since not every result has a form outside.
_CALL = """
def call(obj, method, inputs):
    args, kwargs = inputs
    result = (obj if method == "__call__" else getattr(obj, method))(*args, **kwargs)
    return describe(result)


def describe(value, indent=0):
    pad = "  " * indent
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} {value.dtype} {list(value.shape)}: {value!r:.2000}"
    if hasattr(value, "items"):
        return f"{type(value).__name__}" + "".join(f"\\n{pad}  {key}: {describe(item, indent + 1)}" for key, item in value.items())
    if isinstance(value, (list, tuple)) and any(hasattr(item, "shape") or isinstance(item, (list, tuple, dict)) for item in value):
        return f"{type(value).__name__}" + "".join(f"\\n{pad}  {i}: {describe(item, indent + 1)}" for i, item in enumerate(value))
    return f"{value!r:.4000}"


def inputs_of(args, kwargs):
    return tuple(map(load, args)), {key: load(value) for key, value in kwargs.items()}


def load(value):
    if isinstance(value, dict) and set(value) == {"deploy_file"}:
        path = value["deploy_file"]
        if path.endswith(".npy"):
            import numpy

            array = numpy.load(path)
            try:
                import torch
            except ImportError:
                return array
            return torch.from_numpy(array)
        import torch

        return torch.load(path, weights_only=True)
    if isinstance(value, dict) and set(value) == {"deploy_tensor"}:
        import torch

        return torch.tensor(value["deploy_tensor"])
    return value
"""


def argument(text: str) -> Any:
    """A command-line argument as a value: a .npy or .pt file, `tensor:[[1, 2]]`, JSON, or else the text itself. What begins like
    JSON (tensor:, a bracket, a quote) and is none is an Error INVALID_ARGUMENT."""
    if text.endswith((".npy", ".pt")):
        check_input(text)
        return {"deploy_file": os.path.abspath(text)}
    is_tensor = text.startswith("tensor:")
    try:
        value = json.loads(text.removeprefix("tensor:"))
    except (ValueError, RecursionError) as error:
        if not is_tensor and not text.startswith(("[", "{", '"')):
            return text
        way_out = "" if is_tensor else f"; the text itself is {json.dumps(text[:60])}"
        what = "tensor: and JSON" if is_tensor else "JSON"
        raise Error(ErrorCode.INVALID_ARGUMENT, f"argument {text!r:.200}: expected {what}: {error}{way_out}") from None
    return {"deploy_tensor": value} if is_tensor else value


def run(
    path: str | os.PathLike[str],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    example: int | None = None,
    method: str | None = None,
    environment: deploy.Environment | None = None,
) -> str:
    """The result of one call as text. Without arguments: the first example's, or the one of that number."""
    path = os.fspath(path)
    found = described(read_manifest(path) or {}, path)
    examples = found.examples
    if example is None and not args and not kwargs and examples:
        example = 0
    if example is not None and not 0 <= example < len(examples):
        raise Error(ErrorCode.NOT_FOUND, f"{path!r} has no example {example}; it has {len(examples)}")
    called = found.callables[0] if found.callables else {"package": "model", "resource": "model.pkl", "method": "__call__"}
    if example is not None:
        called = found.callables[examples[example]["callable"]]
    grad_mode = (environment.grad_mode if environment is not None else None) or called.get("grad_mode")
    with deploy.InterpreterManager(environment=environment) as manager:
        manager.register_module("deploy_package_run", _CALL)
        manager.register_module("deploy_package_grad_modes", pathlib.Path(__file__).with_name("grad_modes.py").read_text())
        package = manager.load_package(pathlib.Path(path))
        model = package.load_pickle(called["package"], called["resource"])
        inputs = package.load_pickle(*examples[example]["inputs"]) if example is not None else None
        with model.acquire_session() as session:
            if inputs is not None:
                values = session.from_replicated(inputs)
            else:
                values = session.global_("deploy_package_run", "inputs_of")(list(args), dict(kwargs or {}))
            call = session.global_("deploy_package_run", "call")
            within = session.global_("deploy_package_grad_modes", "within")
            return within(grad_mode, call, session.from_replicated(model), method or called["method"], values).to_value()
