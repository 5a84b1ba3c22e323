"""Every public function, with every kind of wrong argument in every place. It may take the value, and otherwise raises TypeError,
ValueError, deploy.Error (an index: IndexError), or what the argument itself raised; and the next call works."""

import ast
import contextlib
import os
import pathlib
import sys

import pytest
from test_package_reader import HARMLESS, package_of

import deploy

STUB = ast.parse((pathlib.Path(deploy.__file__).parent / "_deploy.pyi").read_text())
LONGEST_MESSAGE = 4000


class Own(Exception):
    """What the arguments below raise."""


def hostile(*methods):
    """An object whose special methods raise Own."""

    def refuse(self, *args, **kwargs):
        raise Own

    return type("Hostile", (), dict.fromkeys(methods, refuse))()


def of_odd_module():
    kind = type("Odd", (), {})
    kind.__module__ = 5
    return kind()


def cycle():
    value = []
    value.append(value)
    return value


def nested(depth):
    value = None
    for _ in range(depth):
        value = [value]
    return value


class Shrinks(list):
    def __len__(self):
        return 1 << 40


class LiesAboutText(str):
    def __str__(self):
        return 5

    def __fspath__(self):
        return 5


class LiesAboutIndex:
    def __index__(self):
        return "1"


class Dlpack:
    """Looks like a tensor, and gives something else."""

    def __dlpack__(self, **options):
        return 5

    def __dlpack_device__(self):
        return "cpu"


BAD = {
    "none": lambda: None,
    "true": lambda: True,
    "zero": lambda: 0,
    "negative": lambda: -1,
    "huge": lambda: 1 << 70,
    "word": lambda: (1 << 63) - 1,
    "float": lambda: 1.5,
    "nan": lambda: float("nan"),
    "infinity": lambda: float("-inf"),
    "complex": lambda: 1j,
    "empty": lambda: "",
    "text": lambda: "2",
    "surrogate": lambda: "\ud800",
    "nul": lambda: "a\0b",
    "long": lambda: "x" * 100_000,
    "bytes": lambda: b"\xff\0",
    "bytearray": lambda: bytearray(b"x"),
    "view": lambda: memoryview(b"x"),
    "list": lambda: [None],
    "texts": lambda: ["\ud800", "a\0b"],
    "dict": lambda: {"\ud800": object()},
    "set": lambda: {1},
    "cycle": cycle,
    "deep": lambda: nested(100_000),
    "shrinks": lambda: Shrinks([1]),
    "generator": lambda: (Own() for _ in range(3)),
    "object": object,
    "type": lambda: type,
    "function": lambda: cycle,
    "module": lambda: sys,
    "exception": lambda: Own("x"),
    "ellipsis": lambda: ...,
    "text that lies": lambda: LiesAboutText("x"),
    "index that lies": LiesAboutIndex,
    "dlpack that lies": Dlpack,
    "of an odd module": of_odd_module,
    "no text": lambda: hostile("__str__", "__repr__"),
    "no number": lambda: hostile("__index__", "__int__", "__float__", "__bool__", "__len__"),
    "no items": lambda: hostile("__iter__", "__getitem__", "__len__", "__contains__"),
    "no path": lambda: hostile("__fspath__"),
    "no attribute": lambda: hostile("__getattribute__"),
    "no tensor": lambda: hostile("__dlpack__", "__dlpack_device__", "__array__"),
    "not equal": lambda: hostile("__eq__", "__hash__"),
}

# Those that end the test's own objects, wait for something, or are not for callers.
LEFT_OUT = {
    "Interpreter.interrupt",
    "Tensor.__buffer__",  # only the interpreter calls it, from 3.12 on
    "InterpreterManager.close",
    "InterpreterManager.__exit__",
    "InterpreterManager.__enter__",
    "InterpreterSession.close",
    "InterpreterSession.__exit__",
    "InterpreterSession.__enter__",
}


def functions():
    """(qualified name, node) of all functions in the stub, methods too; not the private ones."""
    for node in STUB.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        for each in inside:
            if not isinstance(each, ast.FunctionDef):
                continue
            if any(getattr(mark, "id", None) == "property" for mark in each.decorator_list):
                continue
            name = f"{node.name}.{each.name}" if isinstance(node, ast.ClassDef) else each.name
            if name not in LEFT_OUT and (not each.name.startswith("_") or each.name.startswith("__")):
                yield name, each


def places(name, node):
    """(place, required) of each parameter: an index, a keyword, or "*" and "**" for one of any number."""
    arguments = node.args
    positional = (arguments.posonlyargs + arguments.args)[1 if "." in name else 0 :]
    required = len(positional) - len(arguments.defaults)
    yield from ((index, index < required) for index in range(len(positional)))
    yield from ((each.arg, False) for each in arguments.kwonlyargs)
    if arguments.vararg:
        yield "*", False
    if arguments.kwarg:
        yield "**", False


CASES = [(name, node, place) for name, node in functions() for place, _ in places(name, node)]


@pytest.fixture(scope="module")
def live(bare_manager, tmp_path_factory):
    """Objects of each class, and what the functions take in each place."""
    folder = tmp_path_factory.mktemp("bad")
    path = folder / "plain.pt"
    path.write_bytes(package_of(HARMLESS))
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(bare_manager.interpreters[0].acquire_session())
        echo = session.global_("probe", "kwargs")
        replicated = session.replicate(session.global_("probe", "echo"))
        yield {
            "InterpreterManager": bare_manager,
            "Interpreter": bare_manager.interpreters[1],
            "InterpreterSession": session,
            "Object": echo,
            "ReplicatedObject": replicated,
            "Package": bare_manager.load_package(path),
            "PackageReader": deploy.PackageReader(path),
            "Tensor": deploy.Tensor(tensor_source()),
            "name": "__name__",
            "module": "probe",
            "source": "",
            "path": str(path),
            "session": session,
            "object": echo,
            "package": "model",
            "resource": "model.pkl",
            "private_key": str(folder / "none.pem"),
            "trusted_keys": (),
            "value": 1,
            "seconds": None,
        }


def tensor_source():
    numpy = pytest.importorskip("numpy", reason="numpy is not in this environment")
    return numpy.ones(3)


def call(live, name, node, place, value):
    owner, _, method = name.rpartition(".")
    if method == "__init__":
        function = getattr(deploy, owner)
    elif owner:
        function = getattr(live[owner], method)
    else:
        function = getattr(deploy, name)
    names = [each.arg for each in (node.args.posonlyargs + node.args.args)[1 if owner else 0 :]]
    required = len(names) - len(node.args.defaults)
    if isinstance(place, int):
        arguments = [live.get(each) for each in names[: max(required, place + 1)]]
        arguments[place] = value
        return function(*arguments)
    arguments = [live.get(each) for each in names[:required]]
    if place == "*":
        return function(*arguments, value)
    if place == "**":
        return function(*arguments, keyword=value)
    return function(*arguments, **{place: value})


def still_works(live):
    live["InterpreterSession"].set_timeout(None)
    assert live["Object"](1, two=2).to_value() == ((1,), {"two": 2})
    assert live["ReplicatedObject"]("x") == "x"
    assert live["PackageReader"].find("model/model.pkl").size == len(HARMLESS)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(("name", "node", "place"), CASES, ids=lambda each: str(each) if isinstance(each, str | int) else "at")
def test_a_wrong_argument_is_a_clear_error_and_costs_nothing(live, name, node, place, bad):
    value = BAD[bad]()
    try:
        made = call(live, name, node, place, value)
    except (TypeError, ValueError, IndexError, deploy.Error) as error:
        assert isinstance(error, IndexError) <= (name == "Tensor.__getitem__")
        assert name == "Tensor.__array__" or str(error)  # numpy's own may be empty
        assert len(str(error)) < LONGEST_MESSAGE + (2 * len(value) if type(value) is str else 0)
        if isinstance(error, deploy.Error):
            assert error.code != deploy.ErrorCode.INTERNAL
            os.fsencode(str(error))
    except Own:
        pass
    else:
        if isinstance(made, deploy.InterpreterManager):
            made.close()
    still_works(live)


@pytest.mark.parametrize(
    ("interpreters", "found"),
    [
        ("2", "interpreters: found '2', expected an int"),
        (None, "interpreters: found None, expected an int"),
        (1.5, "interpreters: found 1.5, expected an int"),
        (-1, "interpreters: found -1, expected an int of 0 or more"),
        (0, "at least 1 interpreter and at most 65536; 0 were asked for"),
        (1 << 40, "at most 65536; 1099511627776 were asked for"),
    ],
)
def test_a_number_of_interpreters_that_is_none_is_named(raises, interpreters, found):
    with raises(deploy.ErrorCode.INVALID_ARGUMENT) as caught:
        deploy.InterpreterManager(interpreters, deploy.Environment.bare())
    assert found in str(caught.value)


def test_the_cases_are_of_all_classes():
    assert len(CASES) > 40
    assert {name.partition(".")[0] for name, _, _ in CASES} >= {
        "InterpreterManager",
        "Package",
        "Object",
        "Tensor",
        "read_manifest",
    }
