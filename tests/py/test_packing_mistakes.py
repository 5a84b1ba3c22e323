"""What people get wrong when they pack: told in one line, at the start, with what works."""

import copy
import json
import os
import pathlib
import pickle
import subprocess
import sys

import pytest

import deploy
from deploy.package import PackagingError, Problem, VerificationError, run, save

MODULE = """
import sys

TABLE = {"a": 1}


class Adder:
    def __call__(self, a, b=0):
        return a + b

    def generate(self, n):
        return n


class Makers:
    @staticmethod
    def build():
        return Adder(), (1,)


def build():
    return Adder(), (1, 2)


def bare():
    return Adder(), 3


def named():
    return Adder(), (1,), ["b"]


def pair():
    return (Adder(), Adder()), None


def nothing():
    pass


def needy(size, depth=2):
    return Adder()


def failing():
    raise ValueError("the weights are not here")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "my_model.py").write_text(MODULE)
    (folder / "broken.py").write_text("def build(:\n    pass\n")
    (folder / "needs_more.py").write_text("import no_such_library\n\n\ndef build():\n    return 1\n")
    return folder


@pytest.fixture(scope="module")
def command(project):
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(deploy.__file__).parent.parent)}

    def call(*arguments):
        line = [sys.executable, "-m", "deploy", *map(str, arguments)]
        done = subprocess.run(line, cwd=project, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    return call


MISTAKES = {
    "nomodule:build": "no module 'nomodule'; looked in the current folder",
    "my_modle:build": "no module 'my_modle' (there is 'my_model'); looked in the current folder",
    "nomodule.inner:build": "no module 'nomodule'",
    "my_model": "expected module:function, as in my_module:build",
    "my_model:": "expected module:function",
    ":build": "expected module:function",
    "my_model.py:build": "expected a module's name, not a file's: my_model:build",
    "./my_model.py:build": "expected a module's name, not a file's: my_model:build",
    "my_model:biuld": "module 'my_model' has no 'biuld'; similar: build",
    "my_model:Makers.buidl": "type has no 'buidl'; similar: build",
    "my_model:needy": "needy is called without arguments, and takes (size, depth=2) (missing a required argument: 'size')",
    "my_model:nothing": "nothing() returned None, expected the object, or (object, example_args)",
    "my_model:bare": "returned a tuple whose second item is a int, expected the object",
    "my_model:named": "returned a tuple whose third item is a list, expected the object",
    "broken:build": "broken.py:1: invalid syntax",
}


@pytest.mark.parametrize("target", MISTAKES)
def test_a_wrong_target_is_told_in_one_line(command, project, target):
    status, told = command("pack", target, "-o", "p.pt", "-q", "--no-verify")
    assert status == 1 and told.startswith("deploy: ") and told.count("\n") == 1, told
    assert MISTAKES[target] in told
    assert not (project / "p.pt").exists()


def test_what_works_beside_them(command, project):
    for target in ("my_model:build", "my_model:Makers.build", "my_model:pair", "my_model:TABLE", "my_model:Adder"):
        assert command("pack", target, "-o", "good.pt", "-q", "--no-verify") == (0, "")
    assert command("pack", "my_model:build", "-o", "good.pt", "-q") == (0, "")


def test_what_the_callers_code_raises_has_a_traceback_that_begins_there(command):
    for target, raised, line in (
        ("my_model:failing", "ValueError: the weights are not here", "failing"),
        ("needs_more:build", "ModuleNotFoundError: No module named 'no_such_library'", "<module>"),
    ):
        status, told = command("pack", target, "-o", "p.pt", "-q")
        assert status == 1 and told.splitlines()[-1] == f"deploy: {raised}"
        assert told.splitlines()[1].endswith(f", in {line}") and "building.py" not in told and "importlib" not in told


def test_the_options_are_looked_at_before_anything_runs(command, project):
    for options, says in (
        (("-o", "missing/p.pt"), "missing' does not exist: make it first"),
        (("-o", "my_model.py/p.pt"), "my_model.py' is no folder"),
        (("-o", "p.pt", "--venv", "no_venv"), "no_venv"),
        (("-o", "p.pt", "--sign", "no.pem"), "no.pem"),
    ):
        status, told = command("pack", "my_model:failing", *options)
        assert status == 1 and told.startswith("deploy: ") and told.count("\n") == 1 and says in told, told
    status, told = command("pack", "my_model:build", "-o", "p.pt", "-q", "--method", "generat")
    assert (status, told) == (1, "deploy: the object, a Adder, has no method 'generat'; it has generate\n")
    assert command("pack", "my_model:build", "-o", "p.pt", "--grad-mode", "off")[0] == 2


def test_broken_json_is_told(command, project):
    command("pack", "my_model:build", "-o", "json.pt", "-q", "--no-verify")
    for argument, says in (
        ('{"a": 1', "argument '{\"a\": 1': expected JSON: Expecting ',' delimiter"),
        ("[1, 2", "expected JSON"),
        ("tensor:[[1, 2]", "expected tensor: and JSON"),
        ("tensor:x", "expected tensor: and JSON: Expecting value"),
        ('b="x', "expected JSON: Unterminated string"),
    ):
        status, told = command("run", "json.pt", argument)
        assert status == 1 and told.startswith("deploy: argument ") and told.count("\n") == 1 and says in told, told
    assert 'the text itself is "[hello"' in command("run", "json.pt", "[hello")[1]
    assert command("run", "json.pt", json.dumps("[hello"), "b=!")[0] == 0
    assert command("run", "json.pt", "hello", "b=[1]")[0] == 1  # str + list: what the code raises


# The same from Python.


class Callable:
    def __call__(self, x):
        return x

    def predict(self, x):
        return x


class Array:
    shape = (2, 3)


@pytest.mark.parametrize(
    "options, says",
    [
        (
            {"example_args": Array()},
            "example_args: found a Array of shape (2, 3), expected a tuple of the call's arguments; for one",
        ),
        ({"example_args": "text"}, "example_args: found a str, expected a tuple"),
        ({"example_args": 3}, "for one argument example_args=(x,)"),
        ({"example_args": {"x": 1}}, "example_args: found a dict"),
        ({"example_kwargs": (1,)}, "example_kwargs: found (1,), expected a dict from the names of arguments"),
        ({"example_kwargs": {1: 2}}, "example_kwargs: found {1: 2}"),
        ({"example_args": (1,), "method": "predcit"}, "has no method 'predcit'; it has predict"),
        ({"tolerance": -1}, "tolerance: found -1, expected a number from 0, or None"),
        ({"tolerance": float("nan")}, "tolerance: found nan"),
    ],
)
def test_a_wrong_example_is_told_before_anything_is_done(tmp_path, options, says, raises):
    with raises(deploy.ErrorCode.INVALID_ARGUMENT) as caught:
        save(tmp_path / "p.pt", Callable(), **options)
    assert says in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert save(tmp_path / "p.pt", len, example_args=[[1]], verify=False).size


def test_a_tensor_for_arguments_is_told(tmp_path, raises, torch):
    with raises(deploy.ErrorCode.INVALID_ARGUMENT) as caught:
        save(tmp_path / "p.pt", torch.nn.Linear(3, 2), example_args=torch.ones(1, 3))
    assert "example_args: found a Tensor of shape (1, 3), expected a tuple of the call's arguments; for one argument" in str(
        caught.value
    )


def test_an_object_that_cannot_be_called_is_told(tmp_path, raises):
    with raises(deploy.ErrorCode.INVALID_ARGUMENT) as caught:
        save(tmp_path / "p.pt", [1], example_args=(1,))
    assert "the object, a list, cannot be called: the example needs a `method`" in str(caught.value)


def test_a_missing_folder_is_told_before_the_example_runs(tmp_path, raises):
    class Ran(Exception):
        pass

    def function(*args):
        raise Ran

    with raises(deploy.ErrorCode.NOT_FOUND) as caught:
        save(tmp_path / "a" / "b" / "p.pt", function, example_args=())
    assert f"{str(tmp_path / 'a' / 'b')!r} does not exist: make it first" in str(caught.value)
    with raises(deploy.ErrorCode.INVALID_ARGUMENT):
        save(f"{tmp_path}/", function)


# Exceptions.


class Custom(deploy.Error):
    def __init__(self, *, reason):
        super().__init__(deploy.ErrorCode.INVALID_ARGUMENT, reason)
        self.reason = reason


@pytest.mark.parametrize(
    "error",
    [
        deploy.Error(deploy.ErrorCode.PYTHON, "ValueError: x", "ValueError", "Traceback ..."),
        PackagingError("p.pt", [Problem("model.act", "is a lambda", "write a function")]),
        VerificationError("p.pt", ["example 0: result is 1", "another"]),
        Custom(reason="because"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_exceptions_survive_pickle_and_copy(error):
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error) and str(again) == str(error) and again.args == error.args
        assert again.code == error.code and vars(again) == vars(error)


def test_an_exception_of_the_packages_own_class_arrives_with_its_text(tmp_path, monkeypatch):
    (tmp_path / "own_errors.py").write_text(
        "class Missing(Exception):\n    def __init__(self, name, *, wanted):\n        super().__init__(f'{name} of {wanted}')\n\n\n"
        "def function(x):\n    raise Missing(x, wanted=[1])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_errors

    save(tmp_path / "p.pt", own_errors.function, verify=False)
    with pytest.raises(deploy.Error) as caught:
        run(tmp_path / "p.pt", ["weights"], environment=deploy.Environment.bare())
    assert caught.value.code == deploy.ErrorCode.PYTHON and caught.value.python_type == "own_errors.Missing"
    assert caught.value.message == "own_errors.Missing: weights of [1]"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(own_errors.Missing):
        save(tmp_path / "p.pt", own_errors.function, example_args=("weights",))
    del sys.modules["own_errors"]
