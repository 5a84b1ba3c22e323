"""What packages leave behind in registries of the interpreter, and how it is rid of that when they leave.

A library registers its classes and functions with others for good: import hooks, pickling functions, the tree nodes of torch,
functions that it adds to logging.Logger. Such an entry keeps the class alive, this its module, and this all that the module refers
to; a hook of a library that is gone would even go on running. What is listed here is what libraries do when they are imported;
what their users registered elsewhere stays.
"""

import copyreg
import functools
import logging
import sys
import typing
from types import FunctionType, MethodType

# Module -> names of its dicts, sets and lists that others register in.
_REGISTRIES = {
    "torch.utils._pytree": (
        "SUPPORTED_NODES",
        "SUPPORTED_SERIALIZED_TYPES",
        "SERIALIZED_TYPE_TO_PYTHON_TYPE",
        "CONSTANT_NODES",
        "_cxx_pytree_pending_imports",
    ),
    "torch.fx._pytree": ("SUPPORTED_NODES", "SUPPORTED_NODES_EXACT_MATCH"),
    "torch.serialization": ("_package_registry",),
    "torch._jit_internal": ("boolean_dispatched",),
}

# Class -> its attributes before the first package could add any. What a package puts in place of one of them stays.
_attributes = {}


def remember():
    """Before a package's names are taken: what the classes look like to which libraries add functions."""
    torch = sys.modules.get("torch")
    for extended in (logging.Logger, torch and torch.nn.Module):
        if extended is not None and extended not in _attributes:
            _attributes[extended] = frozenset(vars(extended))


def _defined_in(tops, value):
    """Whether `value` is a class, function or method of these modules, an object of such a class, or holds one."""
    kind = type(value)
    if kind is MethodType:
        return _defined_in(tops, value.__self__) or _defined_in(tops, value.__func__)
    if kind is functools.partial:
        return _defined_in(tops, value.func)
    if kind is tuple:
        return any(_defined_in(tops, item) for item in value)
    if kind in (FunctionType, functools._lru_cache_wrapper):
        module = value.__module__
    else:
        # By the true type: objects may pretend to another class, and warn when they are asked.
        module = (value if issubclass(kind, type) else kind).__dict__.get("__module__")
    return isinstance(module, str) and module.partition(".")[0] in tops


def _clean(registry, tops):
    if isinstance(registry, dict):
        for key in [key for key, value in registry.items() if _defined_in(tops, key) or _defined_in(tops, value)]:
            del registry[key]
    elif isinstance(registry, set):
        registry.difference_update([item for item in registry if _defined_in(tops, item)])
    elif isinstance(registry, list):
        registry[:] = [item for item in registry if not _defined_in(tops, item)]


def _remove_custom_ops(tops):
    # An operator of torch.library.custom_op holds its functions by way of the dispatcher, in C++.
    custom_ops = sys.modules.get("torch._library.custom_ops")
    for operator in list(getattr(custom_ops, "OPDEFS", {}).values()):
        if _defined_in(tops, operator._init_fn):
            operator._lib._destroy()


def forget(tops):
    """Takes what the modules with these top-level names registered out of the registries."""
    for registry in (sys.meta_path, sys.path_hooks, copyreg.dispatch_table):
        _clean(registry, tops)
    for module_name, names in _REGISTRIES.items():
        module = sys.modules.get(module_name)
        for name in names if module is not None else ():
            _clean(getattr(module, name, None), tops)
    _remove_custom_ops(tops)
    for extended, before in _attributes.items():
        for name in [name for name, value in vars(extended).items() if name not in before and _defined_in(tops, value)]:
            delattr(extended, name)
    overloads = getattr(typing, "_overload_registry", {})  # by module
    for module in [module for module in overloads if module.partition(".")[0] in tops]:
        del overloads[module]
    for clear_cache in getattr(typing, "_cleanups", ()):
        clear_cache()
