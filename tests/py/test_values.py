"""Plain data crosses between the host and an interpreter, both ways."""

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import math
import pathlib

import numpy
import pytest

import deploy


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**63 - 1,
        -(2**63),
        1.5,
        math.inf,
        1 + 2j,
        "",
        "dög \U0001f436",
        "nul \0 inside",
        b"",
        bytes(range(256)),
        [],
        (),
        {},
        [1, [2, (3, {"four": 5.0})]],
        (None, True, "x", b"y"),
        {"a": 1, 2: "b", (3, 4): None, None: [True]},
    ],
    ids=repr,
)
def test_a_value_comes_back_equal_and_of_the_same_type(probe, value):
    result = probe("echo", value)
    assert result == value
    assert type(result) is type(value)


def test_nan_comes_back(probe):
    assert math.isnan(probe("echo", math.nan))


def test_the_order_of_a_dict_is_kept(probe):
    assert list(probe("echo", {"z": 1, "a": 2, "m": 3})) == ["z", "a", "m"]


def test_positional_and_keyword_arguments_arrive(probe):
    assert probe("kwargs", 1, "two", three=3, name="four") == ((1, "two"), {"three": 3, "name": "four"})


@pytest.mark.parametrize(
    ("value", "type_inside"),
    [
        (enum.IntEnum("Colour", "RED").RED, "builtins.int"),
        (collections.namedtuple("Point", "x y")(1, 2), "builtins.tuple"),
        (collections.OrderedDict(a=1), "builtins.dict"),
        (collections.defaultdict(list), "builtins.dict"),
        (collections.UserDict(a=1), "builtins.dict"),
        (type("Name", (str,), {})("x"), "builtins.str"),
        (bytearray(b"abc"), "builtins.bytes"),
        (numpy.float32(1.5), "builtins.float"),
        (numpy.float64(1.5), "builtins.float"),
        (numpy.int16(7), "builtins.int"),
        (numpy.bool_(True), "builtins.bool"),
        (numpy.complex64(1j), "builtins.complex"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_subclass_a_mapping_and_a_numpy_scalar_arrive_as_plain_types(probe, value, type_inside):
    assert probe("describe", value) == type_inside
    assert probe("echo", value) == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("Point(1, 2)", (1, 2)),
        ("Colour.GREEN", 2),
        ("Output(logits=[1.5])", {"logits": [1.5]}),
        ("collections.ChainMap({'a': 1})", {"a": 1}),
        ("__import__('numpy').int64(3)", 3),
        ("__import__('numpy').float32(0.5)", 0.5),
        ("__import__('torch').Size([2, 3])", (2, 3)),
    ],
)
def test_a_result_of_a_subclass_or_a_mapping_comes_back_as_a_plain_type(probe, expression, value):
    if "torch" in expression:
        pytest.importorskip("torch", reason="torch is not in this environment")
    result = probe("make", expression)
    assert result == value
    assert type(result) is type(value)


def cyclic():
    result = []
    result.append(result)
    return result


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        ({1, 2}, "argument 0 cannot be handed to an interpreter: found a set"),
        ([1, {"key": (object(),)}], "argument 0[1]['key'][0] cannot be handed to an interpreter: found a object"),
        (2**63, "int outside the range of int64"),
        ("\ud800", "str with surrogates"),
        (cyclic(), "contains itself"),
        (deploy.Environment(), "found a deploy.Environment"),
        (numpy.datetime64("2020-01-01"), "found a datetime.date"),
    ],
    ids=["set", "object in containers", "large int", "surrogates", "cyclic list", "own type", "numpy datetime"],
)
def test_an_argument_that_is_no_value_is_named_and_the_next_call_works(session, raises, argument, found):
    echo = session.global_("probe", "echo")
    with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
        echo(argument)
    assert found in caught.value.message
    assert echo(1).to_value() == 1


@dataclasses.dataclass
class Settings:
    size: int = 1


@pytest.mark.parametrize(
    ("argument", "instead"),
    [
        (numpy.dtype("float32"), "pass str(x), which numpy takes for a dtype"),
        (enum.Enum("Mode", "FAST").FAST, "pass x.value or x.name"),
        (Settings(), "pass dataclasses.asdict(x)"),
        ({1, 2}, "pass list(x)"),
        (range(3), "pass list(x)"),
        ((i for i in ()), "pass list(x)"),
        (pathlib.Path("/x"), "pass os.fspath(x)"),
        (datetime.datetime(2020, 1, 1), "pass x.isoformat()"),
        (datetime.timedelta(1), "pass x.total_seconds()"),
        (decimal.Decimal(1), "pass str(x) or float(x)"),
        (memoryview(b"ab"), "pass bytes(x), or numpy.asarray(x)"),
        (array.array("f", [1.0]), "pass numpy.asarray(x)"),
        (len, "code goes inside in a package"),
        (Settings, "code goes inside in a package"),
        (numpy.datetime64("2020-01-01"), "pass str(x)"),
        (numpy.array(["a"]), "pass array.tolist(), or an array of numbers"),
        (numpy.array([(1, 2.0)], dtype="i4,f4"), "pass array.tolist(), or an array of numbers"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_an_argument_that_is_no_value_says_what_to_pass(session, raises, argument, instead):
    with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
        session.global_("probe", "echo")(argument)
    assert instead in caught.value.message


def test_a_torch_type_and_an_image_say_what_to_pass(session, raises):
    torch = pytest.importorskip("torch", reason="torch is not in this environment")
    for argument, instead in (
        (torch.float16, "getattr(torch, name)"),
        (torch.device("cpu"), "pass str(x), which PyTorch takes for a device"),
        (torch.nn.Linear(1, 1), "deploy.package.save"),
    ):
        with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
            session.global_("probe", "echo")(argument)
        assert instead in caught.value.message


@pytest.mark.parametrize("key", ["k", "k" * 1000], ids=["short", "long"])
def test_a_container_inside_itself_is_said_in_a_line(session, raises, key):
    inner = {key: 1}
    inner[key] = [inner]
    with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
        session.global_("probe", "echo")((1, inner))
    assert "a dict that contains itself, 2 levels further in; pass a tree" in caught.value.message
    assert caught.value.message.startswith("argument 0[1]['k")
    assert len(caught.value.message) < 300


def test_a_keyword_argument_that_is_no_value_is_named(session, raises):
    with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
        session.global_("probe", "kwargs")(mask={1})
    assert "argument mask cannot be handed to an interpreter: found a set" in caught.value.message


@pytest.mark.parametrize(
    ("expression", "found"),
    [("Opaque()", "probe.Opaque"), ("{'out': [1, Opaque()]}", "probe.Opaque"), ("2**64", "int"), ("{1, 2}", "set")],
)
def test_a_result_that_is_no_value_is_named_and_a_session_can_hold_it(session, raises, expression, found):
    result = session.global_("probe", "make")(expression)
    with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
        result.to_value()
    assert found in caught.value.message
    assert session.global_("probe", "describe")(result).to_value()


def test_a_cyclic_result_is_an_error_and_no_crash(session, raises):
    result = session.global_("builtins", "list")()
    result.call_method("append", result)
    with raises(deploy.ErrorCode.NOT_A_VALUE):
        result.to_value()
