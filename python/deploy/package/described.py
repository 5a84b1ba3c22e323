"""What a manifest says is there to be called, and with which examples, with the defaults of members that it leaves out.

The types of most members were checked by the reader of manifests (lib/package/manifest_record.cpp); those that only Python uses are
checked here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from deploy._deploy import ErrorCode
from deploy._error import Error

_LARGEST = 1 << 63


@dataclasses.dataclass
class Described:
    callables: list[dict[str, Any]]  # package, resource, method, grad_mode
    examples: list[dict[str, Any]]  # callable, inputs, outputs, seed, tolerance, threads


def described(manifest: dict[str, Any], path: str) -> Described:
    """Error INVALID_PACKAGE."""
    callables = [
        {
            "package": entry.get("package") or "",
            "resource": entry.get("resource") or "",
            "method": entry.get("method") or "__call__",
            "grad_mode": entry.get("grad_mode") or ("no_grad" if manifest.get("torch") else None),
        }
        for entry in manifest.get("callables") or ()
    ]
    return Described(callables, [_example(entry, path) for entry in manifest.get("examples") or ()])


def _example(entry: dict[str, Any], path: str) -> dict[str, Any]:
    example = {name: entry.get(name) for name in ("inputs", "outputs", "tolerance", "threads")}
    if example["inputs"] is None:
        raise Error(ErrorCode.INVALID_PACKAGE, f"the manifest of package {path!r} cannot be used: an example has no 'inputs'")
    example["callable"] = entry.get("callable") or 0
    example["seed"] = entry.get("seed") or 0
    for name, kinds in (("seed", (int,)), ("threads", (int, type(None))), ("tolerance", (int, float, type(None)))):
        value = example[name]
        if not isinstance(value, kinds) or isinstance(value, bool) or (value is not None and not abs(value) < _LARGEST):
            why = f"the manifest of package {path!r} cannot be used: {name!r} of an example is not a number"
            raise Error(ErrorCode.INVALID_PACKAGE, why)
    return example
