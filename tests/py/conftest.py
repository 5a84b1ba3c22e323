"""What the tests share. Importing torch takes seconds, so there is one manager for all tests that leave it as they found it."""

import concurrent.futures
import contextlib
import importlib
import pathlib
import subprocess
import sys

import pytest

import deploy

HERE = pathlib.Path(__file__).parent

# Registered as module `probe` in every interpreter: code that says what it sees, and misbehaves on demand.
PROBE = '''
import collections
import enum
import sys

Point = collections.namedtuple("Point", "x y")
Colour = enum.IntEnum("Colour", "RED GREEN")


class Output(collections.OrderedDict):
    """Like the outputs of Hugging Face models."""


class Opaque:
    pass


class Stubborn:
    def __str__(self):
        raise ValueError("no text")

    @property
    def broken(self):
        raise RuntimeError("the property is broken")


def echo(value):
    return value


def kwargs(*args, **kwargs):
    return args, kwargs


def describe(value):
    return f"{type(value).__module__}.{type(value).__qualname__}"


def make(expression):
    return eval(expression, globals())


def fail(type_name, *args):
    raise getattr(__import__("builtins"), type_name)(*args)


def exit(code):
    sys.exit(code)


def identity_of_none():
    return id(None)


def remember(value):
    global kept
    kept = value


def forget():
    global kept
    kept = None
'''


@pytest.fixture(scope="session")
def torch():
    """The host's torch. A Python whose torch has no CPU build is tested without (HACKING.md, "Another Python")."""
    return pytest.importorskip("torch", reason="torch is not in this environment")


@pytest.fixture(scope="session")
def packages(tmp_path_factory, torch):
    """The folder of the packages that package_fixtures/write_packages.py writes."""
    folder = tmp_path_factory.mktemp("packages")
    subprocess.run([sys.executable, str(HERE / "package_fixtures" / "write_packages.py"), str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def odd_results():
    """The module packing_fixtures/odd_results.py, as own code that packages take in."""
    folder = str(HERE / "packing_fixtures")
    sys.path.insert(0, folder)
    yield importlib.import_module("odd_results")
    sys.path.remove(folder)


@pytest.fixture(scope="session")
def manager():
    """Two interpreters that see this environment, with module probe."""
    with deploy.InterpreterManager(interpreters=2) as manager:
        manager.register_module("probe", PROBE)
        yield manager


@pytest.fixture(scope="session")
def bare_manager():
    """Two interpreters with the standard library and module probe only."""
    with deploy.InterpreterManager(interpreters=2, environment=deploy.Environment.bare()) as manager:
        manager.register_module("probe", PROBE)
        yield manager


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def bare(cache):
    """Two interpreters without torch."""
    with deploy.InterpreterManager(2, deploy.Environment(cache_dir=cache)) as manager:
        yield manager


@pytest.fixture
def make_manager(cache):
    """make_manager(interpreters=1, **environment): one of the test's own."""
    with contextlib.ExitStack() as stack:

        def make(interpreters=1, **environment):
            environment.setdefault("cache_dir", cache)
            return stack.enter_context(deploy.InterpreterManager(interpreters, deploy.Environment(**environment)))

        yield make


@pytest.fixture
def session(manager):
    with manager.acquire_session() as session:
        yield session


@pytest.fixture
def probe(session):
    """Calls a function of module probe: probe("echo", 1)."""
    return lambda name, /, *args, **kwargs: session.global_("probe", name)(*args, **kwargs).to_value()


def in_each_interpreter(manager, function):
    """[function(session)] over all interpreters, from one thread each."""

    def run(interpreter):
        with interpreter.acquire_session() as session:
            return function(session)

    with concurrent.futures.ThreadPoolExecutor(len(manager)) as pool:
        return list(pool.map(run, manager.interpreters))


@pytest.fixture
def raises():
    """`with raises(code) as caught:` for deploy.Error of that code; caught.value is the error."""

    class Raises:
        def __init__(self, code):
            self.code = code
            self.context = pytest.raises(deploy.Error)

        def __enter__(self):
            return self.context.__enter__()

        def __exit__(self, *exception):
            result = self.context.__exit__(*exception)
            if exception[1] is not None and isinstance(exception[1], deploy.Error):
                assert exception[1].code == self.code, str(exception[1])
            return result

    return Raises
