"""Arrays of numpy, torch, scipy and JAX, and all others that numpy can read: for comparison.py.

Elements are compared as what they are: NaN equals NaN and NaT equals NaT, structured arrays by their fields, masked ones where they
are not masked, sparse ones by their positions and values, quantized ones with their scales. Libraries are taken from sys.modules:
a value of one that is not imported cannot be here.
"""

import sys


def compare_numpy(comparison, path, found, expected):
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(expected, (numpy.ndarray, numpy.generic)):
        return False
    if _differs(comparison, path, found, expected, str(found.dtype), str(expected.dtype)):
        return True
    if isinstance(expected, numpy.ma.MaskedArray):
        masks = numpy.ma.getmaskarray(found), numpy.ma.getmaskarray(expected)
        comparison.also(path + ".mask", *masks)
        if not expected.dtype.names:
            keep = ~masks[1]
            comparison.also(path + ".compressed()", found.data[keep], expected.data[keep])
        else:
            for name in expected.dtype.names:
                comparison.also(path + f"[{name!r}]", found[name], expected[name])
        return True
    if getattr(expected, "__dict__", None) or getattr(found, "__dict__", None):  # of a class of its own, such as one with units
        comparison.also(path + ".__dict__", vars(found), vars(expected))
    _numpy_elements(comparison, path, numpy.asarray(found), numpy.asarray(expected))
    return True


def _numpy_elements(comparison, path, found, expected):
    kind = expected.dtype.kind
    if expected.dtype.names:
        for name in expected.dtype.names:
            comparison.also(path + f"[{name!r}]", found[name], expected[name])
    elif kind in "OT":
        if expected.shape:
            comparison.also(path, found.tolist(), expected.tolist())
        else:
            comparison.also(path + ".item()", found.item(), expected.item())
    elif kind in "Mm":
        numpy = sys.modules["numpy"]
        _strict(comparison, path, (found == expected) | (numpy.isnat(found) & numpy.isnat(expected)), found, expected)
    elif kind in "SU":
        _strict(comparison, path, found == expected, found, expected)
    elif kind == "V" and expected.dtype.isbuiltin != 2:
        if found.tobytes() != expected.tobytes():
            comparison.differ(path, " has other bytes than recorded")
    else:
        if kind == "V" or expected.dtype.isbuiltin == 2:  # a number type that another library defines, such as bfloat16
            found, expected = found.astype("float64"), expected.astype("float64")
        wide = "complex128" if expected.dtype.kind == "c" else "float64"
        _numbers(comparison, path, found, expected, lambda array: array.astype(wide))


def _strict(comparison, path, same, found, expected):
    """Elements that are equal or are not."""
    if not same.all():
        count = int((~same).sum())
        one, other = (array[~same].flat[0] if array.shape else array[()] for array in (found, expected))
        comparison.differ(path, f": {count} of {same.size} elements differ; the first is {one!r:.60}, recorded was {other!r:.60}")


def _numbers(comparison, path, found, expected, widen):
    same = _same(found, expected)
    if "complex" in str(expected.dtype):  # of which one part may be NaN
        same = _same(found.real, expected.real) & _same(found.imag, expected.imag)
    if bool(same.all()):
        return
    one, other = widen(found)[~same], widen(expected)[~same]
    wrong = abs(one - other)
    worst = float(wrong.max())
    near = comparison.judge(worst, 0.0)
    if comparison.tolerance is not None and not near:
        allowed = comparison.tolerance * (1 + abs(other))
        near = bool(((wrong <= allowed) & (allowed < float("inf"))).all())
    if not near:
        size = same.size if isinstance(same.size, int) else same.numel()
        comparison.differ(path, f": {int((~same).sum())} of {size} elements differ, by up to {worst:.3g}")


def _same(found, expected):
    return (found == expected) | ((found != found) & (expected != expected))


def compare_torch(comparison, path, found, expected):
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(expected, (torch.Tensor, torch.UntypedStorage, torch.nn.Module)):
        return False
    if isinstance(expected, torch.nn.Module):
        for name in ("named_parameters", "named_buffers"):
            comparison.also(path + f".{name}()", *(dict(getattr(each, name)()) for each in (found, expected)))
        kept = ({name: value for name, value in vars(each).items() if not name.startswith("_")} for each in (found, expected))
        comparison.also(path + ".__dict__", *kept)
    elif isinstance(expected, torch.UntypedStorage):
        comparison.also(path + ".tolist()", found.tolist(), expected.tolist())
    elif expected.is_nested or found.is_nested:
        comparison.also(path + ".layout", str(found.layout), str(expected.layout))
        comparison.also(path + ".unbind()", list(found.unbind()), list(expected.unbind()))
    elif not _differs(comparison, path, found, expected, str(found.dtype), str(expected.dtype)):
        parts = _parts_of(torch, expected)
        if parts is not None:
            comparison.also(path + ".layout", str(found.layout), str(expected.layout))
            for name in parts if found.layout is expected.layout else ():
                one, other = _part(found, name), _part(expected, name)
                comparison.also(path + f".{name.strip('_')}", one, other)
        elif expected.is_meta:
            comparison.skip(path, expected, "it is on the meta device: it has a shape and no values")
        else:
            _torch_elements(comparison, path, torch, found.detach(), expected.detach())
    return True


_SPARSE = {
    "sparse_coo": ("_indices()", "_values()"),
    "sparse_csr": ("crow_indices()", "col_indices()", "values()"),
    "sparse_bsr": ("crow_indices()", "col_indices()", "values()"),
    "sparse_csc": ("ccol_indices()", "row_indices()", "values()"),
    "sparse_bsc": ("ccol_indices()", "row_indices()", "values()"),
}
_CHANNELS = ("q_per_channel_scales()", "q_per_channel_zero_points()", "q_per_channel_axis()", "dequantize()")


def _parts_of(torch, tensor):
    """What a tensor consists of that is no block of numbers: attributes, or methods with their brackets. None: it is one."""
    sparse = _SPARSE.get(str(tensor.layout).removeprefix("torch."))
    if sparse is not None:
        return sparse
    if tensor.is_quantized:
        per_channel = tensor.qscheme() in (torch.per_channel_affine, torch.per_channel_affine_float_qparams)
        return _CHANNELS if per_channel else ("q_scale()", "q_zero_point()", "dequantize()")
    if hasattr(type(tensor), "__tensor_flatten__"):
        return tensor.__tensor_flatten__()[0]
    return None


def _part(tensor, name):
    if not name.endswith("()"):
        return getattr(tensor, name)
    if name.startswith("_"):
        tensor = tensor.coalesce()
    return getattr(tensor.detach(), name[:-2])()


def _torch_elements(comparison, path, torch, found, expected):
    found, expected = (each.cpu().resolve_conj().resolve_neg() for each in (found, expected))
    if expected.layout is not torch.strided:  # one of a library's, such as MKL-DNN's
        found, expected = found.to_dense(), expected.to_dense()
    if type(expected) not in (torch.Tensor, torch.nn.Parameter):
        found, expected = found.as_subclass(torch.Tensor), expected.as_subclass(torch.Tensor)
    wide = torch.complex128 if expected.is_complex() else torch.float64
    try:
        if expected.is_floating_point() and expected.element_size() == 1 or expected.dtype is torch.complex32:
            found, expected = found.to(wide), expected.to(wide)  # these have no operators
        _numbers(comparison, path, found, expected, lambda tensor: tensor.to(wide))
    except (RuntimeError, NotImplementedError):  # an element type without arithmetic, of several elements in a byte
        one, other = (each.contiguous().untyped_storage() for each in (found, expected))
        comparison.also(path + ".untyped_storage()", one, other)


def compare_sparse(comparison, path, found, expected):
    """scipy's sparse arrays and matrices, in any format."""
    if not type(expected).__module__.startswith("scipy.") or not (hasattr(expected, "tocoo") and hasattr(expected, "format")):
        return False
    if _differs(comparison, path, found, expected, f"{found.format} {found.dtype}", f"{expected.format} {expected.dtype}"):
        return True
    one, other = found.tocoo(copy=True), expected.tocoo(copy=True)
    for each in (one, other):
        each.sum_duplicates()
    comparison.also(path + ".coords", *(list(getattr(each, "coords", (each.row, each.col))) for each in (one, other)))
    comparison.also(path + ".data", one.data, other.data)
    return True


def compare_readable(comparison, path, found, expected):
    """Arrays of other libraries, as numpy reads them."""
    kind = type(expected)
    if not all(hasattr(kind, name) for name in ("__array__", "shape", "dtype")):
        return False
    if _differs(comparison, path, found, expected, str(found.dtype), str(expected.dtype)):
        return True
    if str(expected.dtype).startswith("key<") and "jax" in sys.modules:  # random keys have no elements for others
        found, expected = map(sys.modules["jax"].random.key_data, (found, expected))
    numpy = sys.modules.get("numpy") or __import__("numpy")
    comparison.also(path, numpy.asarray(found), numpy.asarray(expected))
    return True


def _differs(comparison, path, found, expected, kind, expected_kind):
    shape, expected_shape = tuple(found.shape), tuple(expected.shape)
    if (kind, shape) == (expected_kind, expected_shape):
        return False
    comparison.differ(path, f" is {kind} {shape}, recorded was {expected_kind} {expected_shape}")
    return True


KINDS = (compare_numpy, compare_torch, compare_sparse, compare_readable)
