"""Tables and images, by what their libraries publish of them: pandas, polars, Arrow, xarray, PIL: for comparison.py."""


def compare_pandas(comparison, path, found, expected):
    name = _base(expected, "pandas", ("DataFrame", "Series", "MultiIndex", "Index", "ExtensionArray"))
    if name is None:
        return False
    if _base(expected, "pandas", ("NDFrame",)) and (found.attrs or expected.attrs):
        comparison.also(path + ".attrs", found.attrs, expected.attrs)
    for extra in getattr(expected, "_metadata", ()):  # what a subclass adds
        if not extra.startswith("_") and extra != "name":
            comparison.also(path + f".{extra}", getattr(found, extra, None), getattr(expected, extra, None))
    if name == "DataFrame":
        comparison.also(path + ".columns", found.columns, expected.columns)
        comparison.also(path + ".index", found.index, expected.index)
        if found.shape == expected.shape:
            for number, label in enumerate(expected.columns):
                _pandas_array(comparison, path + f"[{label!r}]", found.iloc[:, number].array, expected.iloc[:, number].array)
    elif name == "MultiIndex":
        comparison.also(path + ".names", list(found.names), list(expected.names))
        for level in range(expected.nlevels) if found.nlevels == expected.nlevels else ():
            comparison.also(path + f".get_level_values({level})", *(each.get_level_values(level) for each in (found, expected)))
    elif name == "ExtensionArray":
        _pandas_array(comparison, path, found, expected)
    else:
        comparison.also(path + ".name", found.name, expected.name)
        if name == "Series":
            comparison.also(path + ".index", found.index, expected.index)
        _pandas_array(comparison, path, found.array, expected.array)
    return True


def _pandas_array(comparison, path, found, expected):
    plain = type(expected.dtype).__module__.partition(".")[0] == "numpy" or type(expected.dtype).__name__ == "NumpyEADtype"
    kind, expected_kind = (f"{getattr(each.dtype, 'name', each.dtype)} ({len(each)},)" for each in (found, expected))
    if kind != expected_kind:
        comparison.differ(path, f" is {kind}, recorded was {expected_kind}")
    elif hasattr(expected, "categories") and hasattr(expected, "codes"):
        comparison.also(path + ".categories", found.categories, expected.categories)
        comparison.also(path + ".ordered", found.ordered, expected.ordered)
        comparison.also(path + ".codes", found.codes, expected.codes)
    elif plain:
        comparison.also(path, found.to_numpy(), expected.to_numpy())
    else:  # with missing elements, or of another kind: as objects
        comparison.also(path, found.astype(object).tolist(), expected.astype(object).tolist())


def compare_polars(comparison, path, found, expected):
    name = _base(expected, "polars", ("DataFrame", "Series", "LazyFrame"))
    if name is None:
        return False
    if name == "LazyFrame":
        comparison.also(path + ".collect()", found.collect(), expected.collect())
    elif name == "DataFrame":
        kind, expected_kind = (f"{dict(each.schema)} with {each.height} rows" for each in (found, expected))
        if kind != expected_kind:
            comparison.differ(path, f" is {kind}, recorded was {expected_kind}")
        else:
            for label in expected.columns:
                comparison.also(path + f"[{label!r}]", found[label], expected[label])
    else:
        comparison.also(path + ".name", found.name, expected.name)
        comparison.also(path + ".dtype", str(found.dtype), str(expected.dtype))
        if not found.equals(expected, null_equal=True):
            comparison.also(path, found.to_list(), expected.to_list())
    return True


def compare_arrow(comparison, path, found, expected):
    """Arrow's tables, arrays and scalars, whose `equals` takes NaN for different from itself."""
    if not _is_of("pyarrow", expected) or not hasattr(expected, "equals"):
        return False
    if not found.equals(expected):
        plain = next((name for name in ("to_pylist", "as_py") if hasattr(expected, name)), None)
        for name in ("schema", "type"):
            if hasattr(expected, name) and not getattr(found, name).equals(getattr(expected, name)):
                comparison.differ(path, f" has the {name} {getattr(found, name)}, recorded was {getattr(expected, name)}")
                return True
        if plain is None:
            comparison.differ(path, f" is {found!s:.100}, recorded was {expected!s:.100}")
        else:
            comparison.also(path + f".{plain}()", getattr(found, plain)(), getattr(expected, plain)())
    return True


def compare_xarray(comparison, path, found, expected):
    if not _is_of("xarray", expected) or not hasattr(expected, "identical"):
        return False
    if not found.identical(expected):
        comparison.also(path + ".to_dict()", found.to_dict(data="array"), expected.to_dict(data="array"))
    return True


def compare_image(comparison, path, found, expected):
    if _base(expected, "PIL", ("Image",)) is None:
        return False
    for name in ("mode", "size", "info"):
        comparison.also(path + f".{name}", getattr(found, name), getattr(expected, name))
    if (found.mode, found.size) == (expected.mode, expected.size):
        comparison.also(path + ".getpalette()", found.getpalette(), expected.getpalette())
        one, other = found.tobytes(), expected.tobytes()
        if one != other:
            count = sum(map(int.__ne__, one, other))
            comparison.differ(path, f": {count} of {len(other)} bytes of its pixels differ")
    return True


def _base(value, library, names):
    """The first of these classes of that library that the value is an instance of."""
    for name in names:
        for kind in type(value).__mro__:
            if kind.__name__ == name and kind.__module__.partition(".")[0] == library:
                return name
    return None


def _is_of(library, value):
    return any(kind.__module__.partition(".")[0] == library for kind in type(value).__mro__)


KINDS = (compare_pandas, compare_polars, compare_arrow, compare_xarray, compare_image)
