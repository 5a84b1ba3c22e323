"""What objects consist of, as Python and pickle see them. For comparison.py and pickler.py.

It runs inside the interpreters of verify too, where deploy is not installed: it imports the standard library only.
"""

import array
import copyreg
import dataclasses
import types
from collections import deque
from collections.abc import Mapping, Set

CONTENT = (Mapping, list, tuple, deque, Set, array.array, int, float, complex, str, bytes, bytearray)
_MISSING = object()


def name_of(obj):
    """(module, qualified name) of a class, function or module, without what torch.package puts in front of the names of its
    modules."""
    module = getattr(obj, "__module__", None) or ""
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None) or ""
    if module.startswith("<torch_package_"):
        module = module.partition(">.")[2]
    return module, name


def is_function(value):
    """A function or method of C that is bound to no object."""
    kinds = (types.BuiltinFunctionType, types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType)
    return isinstance(value, kinds) and isinstance(getattr(value, "__self__", None), (type(None), types.ModuleType))


def shown(value):
    try:
        return f"{value!r:.100}"
    except Exception as error:
        return f"a {type(value).__qualname__} (its repr raises {type(error).__name__})"


def pickles_attributes(kind):
    """Whether pickle writes the attributes of such objects, and nothing else."""
    own_state = getattr(kind, "__getstate__", None) not in (
        getattr(object, "__getstate__", None),
        getattr(dataclasses, "_dataclass_getstate", None),
    )
    return not (
        own_state
        or kind in copyreg.dispatch_table
        or kind.__reduce_ex__ is not object.__reduce_ex__
        or kind.__reduce__ is not object.__reduce__
        or hasattr(kind, "__getnewargs_ex__")
        or (hasattr(kind, "__getnewargs__") and not isinstance(getattr(kind, "_fields", None), tuple))
    )


def attributes(obj):
    """{name: value} of the instance's dictionary and of the slots of all its classes, private ones included."""
    slots = [name for kind in type(obj).__mro__ for name in _slots(kind)]
    values = {name: getattr(obj, name, _MISSING) for name in slots}
    found = {name: value for name, value in values.items() if value is not _MISSING}
    return {**found, **getattr(obj, "__dict__", {})}


def _slots(kind):
    slots = vars(kind).get("__slots__", ())
    for name in (slots,) if isinstance(slots, str) else tuple(slots):
        if name.startswith("__") and not name.endswith("__"):
            name = f"_{kind.__name__.lstrip('_')}{name}"
        if name not in ("__dict__", "__weakref__"):
            yield name


def reduced(obj, expected):
    """What pickle writes of an object: a name, or [callable, arguments, state, items of a list, items of a dictionary], without
    what is compared as a container's content. Raises what its class raises where it cannot be pickled."""
    reduce = copyreg.dispatch_table.get(type(obj))
    value = reduce(obj) if reduce else obj.__reduce_ex__(4)
    if isinstance(value, str):
        return value
    call, arguments, state, items, pairs = [*value, None, None, None, None][:5]
    if isinstance(expected, (set, frozenset)):
        return [None, None, state, None, None]
    if isinstance(expected, CONTENT):
        return [call, arguments, state, None, None]
    return [call, arguments, state, list(items or ()), list(pairs or ())]


def equality(found, expected):
    """True or False as the class's own `equals` or `==` says; None where it has none or says something else."""
    for name in ("equals", "__eq__"):
        method = getattr(type(found), name, None)
        if method is None or method is object.__eq__:
            continue
        try:
            answer = method(found, expected)
        except Exception:
            continue
        if type(answer) is bool or type(answer).__name__ in ("bool_", "bool"):
            return bool(answer)
    return None
