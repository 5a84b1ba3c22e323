"""How much crosses between the host and an interpreter is bounded, in depth, number and bytes; what is more is refused by name."""

import collections.abc
import itertools

import pytest

import deploy

MADE = """
import collections.abc


def dag(levels, kind):
    value = []
    for _ in range(levels):
        value = {"list": [value, value], "tuple": (value, value), "dict": {1: value, 2: value}}[kind]
    return value


def nested(levels, kind):
    value = "core"
    for _ in range(levels):
        value = {"list": [value], "tuple": (value,), "dict": {1: value}}[kind]
    return value


def depth(value):
    count = 0
    while not isinstance(value, str):
        value = value[1] if isinstance(value, dict) else value[0]
        count += 1
    return count


class ByIdentity(tuple):
    __hash__ = object.__hash__


def cyclic(kind):
    value = []
    value.append({"list": value, "tuple": (value,), "dict": {"key": value}, "key": {ByIdentity((value,)): 1}}[kind])
    return value
"""


@pytest.fixture
def made(bare_manager):
    bare_manager.register_module("made", MADE)
    with bare_manager.acquire_session() as session:
        yield lambda name, *args: session.global_("made", name)(*args)


def nested(levels, kind):
    value = "core"
    for _ in range(levels):
        value = {"list": [value], "tuple": (value,), "dict": {1: value}}[kind]
    return value


KINDS = pytest.mark.parametrize("kind", ["list", "tuple", "dict"])


@KINDS
def test_shared_containers_do_not_fill_the_hosts_memory(make_manager, raises, kind):
    manager = make_manager(memory_limit=64 << 20)
    manager.register_module("made", MADE)
    with manager.acquire_session() as session:
        session.set_timeout(60)
        shared = session.global_("made", "dag")(23, kind)
        with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
            shared.to_value()
        assert "takes more than 67108864 bytes, which is the limit (Environment::value_limits.bytes)" in caught.value.message
        assert session.global_("made", "dag")(2, kind).to_value()


@KINDS
def test_a_shared_argument_is_refused_before_it_fills_the_memory(make_manager, raises, kind):
    manager = make_manager(value_limits=deploy.ValueLimits(items=1000))
    shared = []
    for _ in range(60):
        shared = {"list": [shared, shared], "tuple": (shared, shared), "dict": {1: shared, 2: shared}}[kind]
    with manager.acquire_session() as session:
        length = session.global_("builtins", "len")
        with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
            length(shared)
        assert caught.value.message.startswith("argument 0[...][")
        assert "found more than 1000 items in all, which is the limit (Environment.value_limits.items" in caught.value.message
        with raises(deploy.ErrorCode.NOT_A_VALUE):
            session.from_value(shared)
        assert length([1, 2]).to_value() == 2


def depth_of(value):
    """How many containers lie around the core: to compare such values would recurse."""
    count = 0
    while not isinstance(value, str):
        value = value[1] if isinstance(value, dict) else value[0]
        count += 1
    return count


@KINDS
def test_values_up_to_the_limit_of_depth_cross(made, raises, kind):
    limit = deploy.ValueLimits().depth
    assert made("depth", nested(limit, kind)).to_value() == limit
    assert depth_of(made("nested", limit, kind).to_value()) == limit
    with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
        made("depth", nested(limit + 1, kind))
    assert "found nesting deeper than 1000 levels, which is the limit (Environment.value_limits.depth)" in caught.value.message
    result = made("nested", limit + 1, kind)
    with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
        result.to_value()
    assert "is more than 1000 levels deep, which is the limit (Environment::value_limits.depth)" in caught.value.message


@KINDS
def test_with_a_higher_limit_deep_values_cross_on_any_stack(make_manager, kind):
    manager = make_manager(value_limits=deploy.ValueLimits(depth=200_000))
    manager.register_module("made", MADE)
    with manager.acquire_session() as session:
        result = session.global_("made", "nested")(100_000, kind).to_value()
        assert session.global_("made", "depth")(result).to_value() == 100_000


@pytest.mark.parametrize("kind", ["list", "tuple", "dict", "key"])
def test_a_cycle_in_a_result_is_named(made, raises, kind):
    result = made("cyclic", kind)
    with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
        result.to_value()
    assert "is a container inside itself?" in caught.value.message
    assert made("depth", "core").to_value() == 0


class Odd(collections.abc.Mapping):
    def __init__(self, items):
        self.pairs = items

    def items(self):
        return self.pairs

    def __getitem__(self, key):
        raise KeyError(key)

    def __iter__(self):
        raise RuntimeError("not asked")

    def __len__(self):
        return 10**18


@pytest.mark.parametrize(
    ("items", "found"),
    [
        (itertools.repeat((1, 2)), "found more than 50 items in all"),
        (((i, i) for i in itertools.count()), "found more than 50 items in all"),
        (5, "Odd whose items() gave a int instead of pairs of (key, value)"),
        ([(1, 2, 3)], "Odd whose items() gave a tuple instead of a (key, value)"),
        ([7], "Odd whose items() gave a int instead of a (key, value)"),
    ],
    ids=["endless", "endless generator", "no iterable", "no pair", "no tuple"],
)
def test_an_argument_that_is_an_odd_mapping_is_refused(make_manager, raises, items, found):
    with make_manager(value_limits=deploy.ValueLimits(items=50)).acquire_session() as session:
        length = session.global_("builtins", "len")
        with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
            length(Odd(items))
        assert found in caught.value.message
        assert length(Odd(iter([(1, 2), [3, 4]]))).to_value() == 2


def test_a_list_that_changes_while_it_is_an_argument_is_no_crash(session):
    class Act:
        def __init__(self, act):
            self.act = act

        def __dlpack_device__(self):
            self.act()
            return (1, 0)

        def __dlpack__(self, **keywords):
            raise BufferError("no memory")

    shrinking = [1, 2, 3]
    shrinking[0] = Act(shrinking.clear)
    length = session.global_("builtins", "len")
    with pytest.raises(deploy.Error, match="cannot be exported with DLPack"):
        length(shrinking)
    assert shrinking == []
    growing = {}
    growing["a"] = Act(lambda: growing.update(b=1))
    with pytest.raises(deploy.Error, match="cannot be exported with DLPack"):
        length(growing)


def test_bytes_are_limited(make_manager, raises):
    with make_manager(value_limits=deploy.ValueLimits(bytes=1000)).acquire_session() as session:
        length = session.global_("builtins", "len")
        assert length(b"x" * 1000).to_value() == 1000
        for value in (b"x" * 1001, "x" * 1001, bytearray(1001), ["x" * 999, "xx"]):
            with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
                length(value)
            assert "found more than 1000 bytes, which is the limit (Environment.value_limits.bytes)" in caught.value.message
        text = session.global_("builtins", "str")("x" * 900)
        assert text.to_value() == "x" * 900
        with raises(deploy.ErrorCode.NOT_A_VALUE):
            text.call_method("__mul__", 2).to_value()


def test_an_instance_that_was_never_initialised_is_no_value(session, raises):
    for kind in (deploy.Tensor, deploy.Object):
        with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
            session.from_value([kind.__new__(kind)])
        assert f"found a deploy.{kind.__name__} whose __init__ was not called" in caught.value.message
