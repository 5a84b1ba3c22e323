"""Runs Python model code on every core of one process: any number of isolated interpreters, one copy of the weights.

    manager = deploy.InterpreterManager(interpreters=4)
    model = manager.load_package("bert.pt").load_pickle("model", "model.pkl")
    y = model(x, attention_mask=mask)      # any thread, any interpreter
    torch.from_dlpack(y)                   # tensors share memory both ways

The names are those of the C++ API, whose headers (include/deploy/) have the full contracts. What fails raises deploy.Error.
"""

from deploy._deploy import (
    ErrorCode,
    Interpreter,
    InterpreterManager,
    InterpreterSession,
    MemoryUsage,
    Object,
    Package,
    PackageReader,
    PackageRecord,
    ReplicatedObject,
    Tensor,
    kept_libraries,
    package_signer,
    python_version,
    read_manifest,
    sign_package,
    stranded_interpreters,
    verify_package,
)
from deploy._environment import Environment, ValueLimits
from deploy._error import Error

__all__ = [
    "Environment",
    "Error",
    "ErrorCode",
    "Interpreter",
    "InterpreterManager",
    "InterpreterSession",
    "MemoryUsage",
    "Object",
    "Package",
    "PackageReader",
    "PackageRecord",
    "ReplicatedObject",
    "Tensor",
    "ValueLimits",
    "kept_libraries",
    "package_signer",
    "python_version",
    "read_manifest",
    "sign_package",
    "verify_package",
    "stranded_interpreters",
]

for _public in (
    Error,
    ErrorCode,
    Interpreter,
    InterpreterManager,
    InterpreterSession,
    MemoryUsage,
    Object,
    Package,
    PackageReader,
    PackageRecord,
    ReplicatedObject,
    Tensor,
    Environment,
    ValueLimits,
):
    _public.__module__ = "deploy"
del _public
