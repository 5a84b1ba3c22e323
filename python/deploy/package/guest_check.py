"""Runs inside an interpreter of verify: repeats an example call and compares the result with the recorded one, object by object."""

import dataclasses
import math
import random
import sys
from collections.abc import Mapping

_NOTHING = object()


def check(obj, inputs, outputs, method, seed, tolerance, recorded, threads=None):
    """{"differences": [text], "largest": float}; `recorded` tells whether there is a result to compare with. `threads`: torch's
    number of them where it was recorded, which has a part in how sums are rounded."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
        if threads:
            sys.modules["torch"].set_num_threads(threads)
    args, kwargs = inputs
    target = obj if method == "__call__" else getattr(obj, method)
    result = target(*args, **kwargs)
    comparison = _Comparison(tolerance)
    if recorded:
        comparison.compare("result", result, outputs)
    return {"differences": comparison.differences, "largest": comparison.largest, "modules": sorted(sys.modules)}


class _Comparison:
    def __init__(self, tolerance):
        self.differences = []
        self.largest = 0.0
        self._tolerance = tolerance
        self._seen = set()

    def compare(self, path, found, expected):
        if type(found).__qualname__ != type(expected).__qualname__:
            kinds = f"{type(found).__qualname__}, recorded was a {type(expected).__qualname__}"
            self.differences.append(f"{path} is a {kinds}")
        elif _is_array(expected):
            self._arrays(path, found, expected)
        elif isinstance(expected, (float, complex)):
            self._numbers(path, found, expected)
        elif expected is None or isinstance(expected, (bool, int, str, bytes)):
            if found != expected:
                self.differences.append(f"{path} is {found!r:.100}, recorded was {expected!r:.100}")
        else:
            self._containers(path, found, expected)

    def _containers(self, path, found, expected):
        if id(expected) in self._seen:
            return
        self._seen.add(id(expected))
        if isinstance(expected, Mapping):
            self._keys(path, found, expected)
        elif isinstance(expected, (list, tuple)):
            if len(found) != len(expected):
                self.differences.append(f"{path} has {len(found)} elements, recorded were {len(expected)}")
                return
            for index, (one, other) in enumerate(zip(found, expected, strict=True)):
                self.compare(f"{path}[{index}]", one, other)
        elif isinstance(expected, (set, frozenset)):
            if found != expected:
                self.differences.append(f"{path} has other members than recorded")
        else:
            self._objects(path, found, expected)

    def _keys(self, path, found, expected):
        if list(found) != list(expected):
            self.differences.append(f"{path} has the keys {list(found)}, recorded were {list(expected)}")
            return
        for key in expected:
            self.compare(f"{path}[{key!r}]", found[key], expected[key])

    def _objects(self, path, found, expected):
        if dataclasses.is_dataclass(expected):
            names = [field.name for field in dataclasses.fields(expected)]
        else:
            slots = [slot for kind in type(expected).__mro__ for slot in getattr(kind, "__slots__", ()) if isinstance(slot, str)]
            names = [*getattr(expected, "__dict__", {}), *slots]
        if not names and type(expected).__eq__ is not object.__eq__ and (found == expected) is not True:
            self.differences.append(f"{path} is {found!r:.100}, recorded was {expected!r:.100}")
        for name in names:
            one, other = getattr(found, name, _NOTHING), getattr(expected, name, _NOTHING)
            if not callable(other):
                self.compare(f"{path}.{name}", one, other)

    def _numbers(self, path, found, expected):
        if found == expected or (found != found and expected != expected):
            return
        self._judge(path, abs(found - expected), abs(expected), f"{path} is {found!r}, recorded was {expected!r}")

    def _judge(self, path, difference, scale, text):
        if difference == difference:
            self.largest = max(self.largest, difference)
        if self._tolerance is None or not difference <= self._tolerance * (1 + scale):
            self.differences.append(text)

    def _arrays(self, path, found, expected):
        if str(found.dtype) != str(expected.dtype) or tuple(found.shape) != tuple(expected.shape):
            what = f"{found.dtype} {tuple(found.shape)}, recorded was {expected.dtype} {tuple(expected.shape)}"
            self.differences.append(f"{path} is {what}")
            return
        found, expected = _plain(found), _plain(expected)
        if getattr(expected.dtype, "hasobject", False) or getattr(expected.dtype, "kind", "-") in "USM":
            self.compare(path, found.tolist(), expected.tolist())
            return
        same = (found == expected) | ((found != found) & (expected != expected))
        if bool(same.all()):
            return
        wide = "complex128" if "complex" in str(expected.dtype) else "float64"
        wrong = abs(_wide(found, wide) - _wide(expected, wide))[~same]
        allowed = (self._tolerance or 0.0) * (1 + abs(_wide(expected, wide))[~same])
        largest = float(wrong.max())
        self.largest = max(self.largest, largest) if math.isfinite(largest) else self.largest
        if self._tolerance is None or not bool((wrong <= allowed).all()):
            count = int((~same).sum())
            self.differences.append(
                f"{path}: {count} of {same.size if _is_numpy(same) else same.numel()} elements differ, by up to {largest:.3g}"
            )


def _is_array(value):
    kind = type(value)
    return (
        hasattr(kind, "shape")
        and hasattr(kind, "dtype")
        and (_is_numpy(value) or kind.__module__.startswith("torch") or hasattr(value, "untyped_storage"))
    )


def _is_numpy(value):
    return type(value).__module__.partition(".")[0] == "numpy"


def _plain(array):
    """Dense, on the host, with elements that can be compared."""
    if _is_numpy(array):
        return array
    array = array.detach().cpu()
    if array.layout is not sys.modules["torch"].strided:
        array = array.to_dense()
    return array.dequantize() if array.is_quantized else array.resolve_conj()


def _wide(array, kind):
    return array.astype(kind) if _is_numpy(array) else array.to(getattr(sys.modules["torch"], kind))
