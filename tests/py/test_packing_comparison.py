"""Verification compares a result with the recorded one by value, says what it could not compare, and loads packages whose result is
not recorded."""

import array
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import pathlib
import pickle
import random
import re

import numpy
import pytest

import deploy
from deploy.package import VerificationError, save, verify
from deploy.package.command import main
from deploy.package.guest_check import check

torch = pytest.importorskip("torch", reason="torch is not in this environment")
pandas = pytest.importorskip("pandas", reason="pandas is not in this environment")

nan = float("nan")


def compare(found, expected, tolerance=None):
    return check(lambda: found, ((), {}), expected, "__call__", 0, tolerance, True)


@dataclasses.dataclass
class Point:
    x: object
    y: object = None
    hidden: object = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    x: object


class Private:
    __slots__ = ("__value",)

    def __init__(self, value):
        self.__value = value


class Derived(Private):
    __slots__ = ("more",)

    def __init__(self, value, more):
        super().__init__(value)
        self.more = more


class Labelled(dict):
    pass


class Strict(list):
    def __init__(self, values=(), unit=""):
        super().__init__(values)
        self.unit = unit


class Stateful:
    """Pickles less than it has, as things with locks and caches do."""

    def __init__(self, value):
        self.value = value
        self.cache = object()

    def __getstate__(self):
        return {"value": self.value}


class Rebuilt:
    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return Rebuilt, (self.value,)


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Bits(enum.Flag):
    A = 1
    B = 2


Pair = collections.namedtuple("Pair", "left right")


def labelled(label, **items):
    made = Labelled(items)
    made.label = label
    return made


def cyclic(value):
    made = [value, {}]
    made[1]["self"] = made
    return made


def masked(value, mask):
    return numpy.ma.MaskedArray([1.0, value, 3.0], mask=mask)


def structured(value):
    kind = numpy.dtype([("a", "f4"), ("b", "O"), ("c", "i4", (2,)), ("d", [("e", "U3")])])
    return numpy.array([(nan, None, (1, 2), ("x",)), (1, value, (3, 4), ("y",))], kind)


def sparse(value):
    return torch.sparse_coo_tensor([[0, 1], [2, 0]], [1.0, value], (1 << 20, 1 << 20))


def nested(value, layout):
    return torch.nested.nested_tensor([torch.ones(2), torch.tensor([1.0, 2.0, value])], layout=layout)


def quantized(scale):
    return torch.quantize_per_tensor(torch.tensor([1.0, 2.0]), scale, 0, torch.qint8)


def quantized_by_channel(scale):
    scales, zeros = torch.tensor([0.1, scale]), torch.tensor([0, 0])
    return torch.quantize_per_channel(torch.ones(2, 2), scales, zeros, 0, torch.qint8)


def small_module(value):
    made = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(made.weight, 1.0)
    torch.nn.init.constant_(made.bias, value)
    made.calls = value
    return made


def table(value=2.0):
    times = pandas.to_datetime(["2020-01-01", None, "2021-01-01"])
    columns = {
        "a": [1.0, nan, value],
        "s": ["x", None, "z"],
        "c": pandas.Categorical(["u", "v", "u"]),
        "i": pandas.array([1, None, 3], dtype="Int64"),
        "t": times,
        "z": times.tz_localize("UTC"),
        "o": [1, "x", nan],
    }
    index = pandas.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a")], names=["p", "q"])
    return pandas.DataFrame(columns, index=index)


# name -> a function of a number: the same number gives equal values, another one gives different values.
KINDS = {
    "dataclass": lambda v: Point(1, [v, nan]),
    "dataclass field that == ignores": lambda v: Point(1, 2, v),
    "dataclass with slots": lambda v: Slotted(numpy.array([v, nan])),
    "private slots": lambda v: Private(v),
    "private slots of a base": lambda v: Derived(v, 1),
    "slots of a derived class": lambda v: Derived(1, [v]),
    "namedtuple": lambda v: Pair(1, {"a": v}),
    "enum": lambda v: [Colour.RED, Colour(v)],
    "flags": lambda v: Bits(v) | Bits.A,
    "set": lambda v: {1, "a", v},
    "set of tuples": lambda v: {(1, v), (nan, 2)},
    "set of objects": lambda v: {Rebuilt(1), Rebuilt(v)},
    "frozenset in a dictionary": lambda v: {frozenset({v, 7}): 1},
    "cycle": lambda v: cyclic(v),
    "nan as a key": lambda v: {float("nan"): v},
    "object as a key": lambda v: {Rebuilt(1): v},
    "ordered dictionary": lambda v: collections.OrderedDict([(1, "a"), (v, "b")][:: 1 if v == 2 else -1]),
    "defaultdict": lambda v: collections.defaultdict(list if v == 2 else dict, a=1),
    "counter": lambda v: collections.Counter({"a": v}),
    "deque": lambda v: collections.deque([1, nan, v], maxlen=5),
    "dictionary with attributes": lambda v: labelled(v, a=1),
    "list with attributes": lambda v: Strict([1], unit=v),
    "array": lambda v: array.array("d", [1, nan, v]),
    "decimal": lambda v: [decimal.Decimal("nan"), decimal.Decimal(v)],
    "fraction": lambda v: fractions.Fraction(v, 3),
    "time": lambda v: datetime.datetime(2020, 1, v, tzinfo=datetime.UTC),
    "pattern": lambda v: re.compile("a" * v),
    "exception": lambda v: ValueError("wrong", v),
    "partial": lambda v: functools.partial(max, v, key=abs),
    "bound method": lambda v: [v].append,
    "type": lambda v: [int, Point if v == 2 else Pair, list[int] if v == 2 else list[str]],
    "function": lambda v: [max, cyclic if v == 2 else masked],
    "random generator": lambda v: [random.Random(v), numpy.random.default_rng(v)],
    "own __getstate__": lambda v: Stateful(v),
    "own __reduce__": lambda v: Rebuilt([nan, v]),
    "callable object": lambda v: functools.partial(Rebuilt, Stateful(v)),
    "path": lambda v: pathlib.PurePosixPath(f"a/{v}"),
    "slice": lambda v: [slice(1, v), range(v), ..., b"x" * v, bytearray(v), complex(nan, v), 1 << v],
    "structured array": lambda v: structured(v),
    "masked array": lambda v: masked(v, [0, 0, 1]),
    "mask": lambda v: masked(2.0, [0, v == 2, 1]),
    "masked structured array": lambda v: numpy.ma.MaskedArray(numpy.array([(1, v)], "f4,i4"), mask=[(1, 0)]),
    "object array": lambda v: numpy.array([None, [v, nan], {"a"}], dtype=object),
    "object array without a shape": lambda v: numpy.array({"a": v}, dtype=object),
    "times": lambda v: numpy.array(["NaT", f"2020-01-0{v}"], "M8[D]"),
    "texts": lambda v: [numpy.array(["a", "b" * v]), numpy.array(["a", "b" * v], numpy.dtypes.StringDType())],
    "raw bytes": lambda v: numpy.frombuffer(b"abc" * v, "V3")[-1:] if v == 2 else numpy.frombuffer(b"xyz", "V3"),
    "records": lambda v: numpy.rec.array([(1, float(v))], dtype=[("x", "i4"), ("y", "f8")]),
    "numpy numbers": lambda v: [numpy.float32(nan), numpy.float64(v), numpy.int8(v), numpy.bool_(v == 2), numpy.datetime64("NaT")],
    "sparse tensor of a large shape": lambda v: sparse(float(v)),
    "sparse rows": lambda v: torch.eye(3).mul(v).to_sparse_csr(),
    "sparse columns": lambda v: torch.eye(3).mul(v).to_sparse_csc(),
    "sparse blocks": lambda v: torch.eye(4).mul(v).to_sparse_bsr((2, 2)),
    "nested tensor": lambda v: nested(v, torch.strided),
    "jagged tensor": lambda v: nested(v, torch.jagged),
    "quantized tensor": lambda v: quantized(0.1 * v),
    "quantized by channel": lambda v: quantized_by_channel(0.1 * v),
    "8-bit floats": lambda v: torch.tensor([1.0, v]).to(torch.float8_e4m3fn),
    "half complex": lambda v: torch.tensor([1.0, complex(nan, v)]).to(torch.complex32),
    "unsigned": lambda v: [torch.tensor([1, v], dtype=kind) for kind in (torch.uint16, torch.uint32, torch.uint64)],
    "conjugate view": lambda v: torch.tensor([complex(1, v)]).conj(),
    "storage": lambda v: torch.tensor([1, v]).untyped_storage(),
    "parameter": lambda v: torch.nn.Parameter(torch.tensor([1.0, v])),
    "module": lambda v: small_module(v),
    "torch's names": lambda v: [torch.float32, torch.device("cpu"), torch.Size([v]), torch.strided],
    "table": lambda v: table(float(v)),
    "series": lambda v: pandas.Series([1, nan, v], name="n"),
    "name of a series": lambda v: pandas.Series([1, nan], name=v),
    "index": lambda v: [pandas.RangeIndex(v), pandas.Index(["a", "b" * v]), pandas.date_range("2020", periods=v)],
    "name of an index": lambda v: pandas.DataFrame({"a": [1]}, index=pandas.Index([1], name=f"n{v}")),
    "columns": lambda v: pandas.DataFrame({f"c{v}": [1]}),
    "type of a column": lambda v: pandas.DataFrame({"c": numpy.array([1], "i8" if v == 2 else "f8")}),
    "columns of one name": lambda v: pandas.DataFrame([[1, v]], columns=["a", "a"]),
    "attributes of a table": lambda v: table().assign(x=1).pipe(lambda t: (t.attrs.update(unit=v), t)[1]),
    "pandas's numbers": lambda v: [pandas.NA, pandas.NaT, pandas.Timestamp(2020, 1, v), pandas.Interval(0, v), pandas.Timedelta(v)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_values_are_equal_and_others_are_told(kind):
    make = KINDS[kind]
    same = compare(make(2), make(2))
    assert (same["differences"], same["notes"]) == ([], [])
    other = compare(make(2), make(1))
    assert other["differences"] and not other["notes"], other
    assert all(text.startswith(("result", "and ")) for text in other["differences"])


def test_differences_name_the_part_and_both_values():
    def only(found, expected):
        (text,) = compare(found, expected)["differences"]
        return text

    assert only(Point(1), Point(2)) == "result.x is 1, recorded was 2"
    assert only(Private(1), Private(2)) == "result._Private__value is 1, recorded was 2"
    assert only(Pair(1, 2), Pair(1, 3)) == "result.right is 2, recorded was 3"
    assert only({1, 2}, {1, 3}) == "result has other members than recorded: [2], recorded were [3]"
    assert only(structured(2), structured(1)) == "result['b'][1] is 2, recorded was 1"
    assert only(table(2.0), table(1.0)) == "result['a']: 1 of 3 elements differ, by up to 1"
    assert only(masked(2.0, [0, 0, 1]), masked(1.0, [0, 0, 1])) == "result.compressed(): 1 of 2 elements differ, by up to 1"
    assert only(sparse(2.0), sparse(1.0)) == "result.values(): 1 of 2 elements differ, by up to 1"
    assert only(Colour.RED, Colour.GREEN) == "result is <Colour.RED: 1>, recorded was <Colour.GREEN: 2>"
    assert only(decimal.Decimal(1), decimal.Decimal(2)) == "result is Decimal('1'), recorded was Decimal('2')"
    assert only(cyclic(1), cyclic(2)) == "result[0] is 1, recorded was 2"
    missing, added = Point(1), Point(1)
    added.more = 3
    assert only(missing, added) == "result.more is missing, recorded was 3"
    assert only(added, missing) == "result.more is 3, which was not recorded"
    assert only({1: 0}, {True: 0}) == "result has the keys [1], recorded were [True]"


def test_dictionaries_are_equal_in_any_order():
    assert compare({"a": 1, "b": 2}, {"b": 2, "a": 1})["differences"] == []


def test_an_object_that_is_recorded_twice_is_compared_twice():
    one, other = [1], [2]
    assert compare([one, other], [one, copy.copy(one)])["differences"] == ["result[1][0] is 2, recorded was 1"]
    expected = [1]
    assert compare([[1], [2]], [expected, expected])["differences"] == ["result[1][0] is 2, recorded was 1"]


def test_values_may_be_nested_deeply():
    def deep(value):
        for _ in range(50_000):
            value = [value]
        return value

    assert compare(deep(1), deep(1))["differences"] == []
    (text,) = compare(deep(1), deep(2))["differences"]
    assert "is 1, recorded was 2" in text and len(text) < 1000


def test_a_tolerance_reaches_into_all_of_these():
    near, exactly = 2 + 5e-7, 2.0
    for kind in ("dataclass", "array", "masked array", "structured array", "jagged tensor", "table", "series", "private slots"):
        found = compare(KINDS[kind](near), KINDS[kind](exactly), 1e-6)
        assert (found["differences"], found["notes"]) == ([], []), kind
        assert 0 < found["largest"] < 1e-6
        assert compare(KINDS[kind](near), KINDS[kind](exactly), 1e-9)["differences"], kind


@pytest.mark.parametrize("make", [float, lambda v: torch.tensor([v]), lambda v: numpy.array([v])])
def test_no_tolerance_makes_a_number_infinite(make):
    assert compare(make(1.0), make(float("inf")), 1e-3)["differences"]
    assert compare(make(float("inf")), make(1.0), 1e-3)["differences"]
    assert compare(make(float("inf")), make(float("inf")))["differences"] == []


def test_many_differences_are_counted():
    found = compare(list(range(1000)), list(range(1, 1001)))["differences"]
    assert found[0] == "result[0] is 0, recorded was 1" and found[-1] == "and 980 more differences" and len(found) == 21


class Silent:
    """Nobody can compare it, and nobody can pickle it."""

    __slots__ = ()

    def __reduce__(self):
        raise TypeError("not this one")


class Raising:
    def __reduce__(self):
        raise TypeError("not this one")

    def __eq__(self, other):
        return self.value == other.value  # which there is not

    __hash__ = None


def test_what_cannot_be_compared_is_a_note(odd_results):
    found = compare([1, Silent()], [1, Silent()])
    assert found["differences"] == []
    why = "it has no __eq__, and cannot be pickled: TypeError: not this one"
    assert found["notes"] == [f"not compared: result[1], a Silent: {why}"]
    assert "cannot be pickled" in compare(Raising(), Raising())["notes"][0]
    scattered = compare({"x": odd_results.Scattered()}, {"x": odd_results.Scattered()})
    assert scattered["differences"] == []
    assert scattered["notes"][0].startswith("not compared: result['x'], a Scattered: its pickle differs each time")
    assert compare(torch.ones(2, device="meta"), torch.ones(2, device="meta"))["notes"] == [
        "not compared: result, a Tensor: it is on the meta device: it has a shape and no values"
    ]


def test_a_round_trip_through_pickle_changes_nothing():
    for kind, make in KINDS.items():
        if kind not in ("storage", "8-bit floats", "half complex", "unsigned"):  # torch's own unpickling fails without its importer
            found = compare(make(2), pickle.loads(pickle.dumps(make(2))))
            assert (found["differences"], found["notes"]) == ([], []), kind


# In packages.


def test_a_table_that_differs_at_each_call_is_not_verified(odd_results, tmp_path):
    with pytest.raises(VerificationError, match=r"result\['x'\]: 1 of 3 elements differ"):
        save(tmp_path / "p.pt", odd_results.frame, example_args=())
    assert not (tmp_path / "p.pt").exists()
    summary = save(tmp_path / "p.pt", odd_results.frame, example_args=(7,))
    assert summary.verified and summary.notes == []
    found = verify(tmp_path / "p.pt", interpreters=2)
    assert (found.examples, found.compared, found.exact, found.complete) == (1, 1, True, True)


def test_private_slots_are_compared(odd_results, tmp_path):
    with pytest.raises(VerificationError, match="result._Private__value is 0"):
        save(tmp_path / "p.pt", odd_results.other_private, example_args=())
    assert save(tmp_path / "p.pt", odd_results.same_private, example_args=()).verified


def test_what_was_not_compared_is_never_called_verified(odd_results, tmp_path, capsys):
    path = tmp_path / "p.pt"
    summary = save(path, odd_results.scattered, example_args=())
    assert not summary.verified
    (note,) = summary.notes
    assert note.startswith("example 0: not compared: result['scattered'], a Scattered: its pickle differs")
    found = verify(path)
    assert (found.examples, found.compared, found.complete, found.notes) == (1, 0, False, [note])
    assert main(["verify", str(path)]) == 0
    told = capsys.readouterr().out
    assert "loads and runs; 0 of 1 examples wholly compared" in told and f"note: {note}" in told
    assert "verified" not in told


@pytest.mark.parametrize("name", ["a_lambda", "a_lock_inside", "a_generator"])
def test_a_result_that_cannot_be_pickled_makes_a_package_that_loads(odd_results, tmp_path, capsys, name):
    path = tmp_path / "p.pt"
    summary = save(path, getattr(odd_results, name), example_args=(3,))
    assert not summary.verified
    assert summary.notes[0].startswith("the result of the example is not recorded, so verify only runs it: result")
    assert "example 0: not compared: the result, which was not recorded, because it cannot be pickled" in summary.notes
    assert deploy.read_manifest(path)["examples"][0]["outputs"] is None
    assert main(["inspect", str(path)]) == 0 and "(result not recorded)" in capsys.readouterr().out
    loads_and_runs(path, capsys)


@pytest.mark.parametrize(
    ("name", "parts"),
    [("with_a_lambda", ["result[1]"]), ("with_a_lock", ["result['kept'].lock"]), ("with_a_generator", ["result[0]"])],
)
def test_a_result_is_recorded_without_the_parts_that_cannot_be_pickled(odd_results, tmp_path, capsys, name, parts):
    path = tmp_path / "p.pt"
    summary = save(path, getattr(odd_results, name), example_args=(3,))
    assert not summary.verified
    for part in parts:
        assert any(note.startswith(f"this part of the example's result is not recorded: {part}: ") for note in summary.notes)
        assert any(note.startswith(f"example 0: not compared: {part}, a ") for note in summary.notes)
    assert len(summary.notes) == 2 * len(parts)
    assert deploy.read_manifest(path)["examples"][0]["outputs"] == ["deploy_examples", "0.outputs.pkl"]
    loads_and_runs(path, capsys)


def test_the_other_parts_are_compared(odd_results, tmp_path):
    with pytest.raises(VerificationError, match=r"result\['number'\] is 0"):
        save(tmp_path / "p.pt", odd_results.with_a_lock_and_a_number, example_args=(3,))


def loads_and_runs(path, capsys):
    found = verify(path, interpreters=2)
    assert (found.examples, found.compared, found.complete) == (1, 0, False)
    with deploy.InterpreterManager(2) as manager:
        function = manager.load_package(path).load_pickle("model", "model.pkl")
        with function.acquire_session() as session:
            assert session.from_replicated(function)(4) is not None
    assert main(["run", str(path)]) == 0 and capsys.readouterr().out.strip()


def test_a_package_without_an_example_is_loaded_and_not_called_verified(odd_results, tmp_path, capsys):
    path = tmp_path / "p.pt"
    summary = save(path, odd_results.same_private)
    assert not summary.verified
    assert summary.notes == ["not compared: there is no example, so the package was only loaded"]
    assert main(["verify", str(path)]) == 0
    assert "loads; it has no example to repeat" in capsys.readouterr().out
