"""What makes interpreters quick to start changes nothing else: byte code out of __pycache__, and the garbage collector's rest."""

import compileall
import importlib.util
import os
import pathlib
import py_compile
import sys
import types

import pytest

import deploy


@pytest.fixture
def value_of(tmp_path):
    """value_of(source) writes module `subject`, with what byte code there is left alone, and gives its `value` inside."""

    def value_of(source=None, mtime=None):
        file = tmp_path / "subject.py"
        if source is not None:
            file.write_text(source)
        if mtime is not None:
            os.utime(file, (mtime, mtime))
        interpreter = deploy.Interpreter(deploy.Environment(extra_paths=[tmp_path]))
        with interpreter.acquire_session() as session:
            return session.global_("subject", "value").to_value()

    return value_of


def byte_code(folder):
    return pathlib.Path(importlib.util.cache_from_source(folder / "subject.py"))


def test_byte_code_is_written_and_used(tmp_path, value_of):
    assert value_of("value = 1\n", mtime=1_000_000_000) == 1
    assert byte_code(tmp_path).exists()
    # The source of the same size and time is another one, and nobody notices: so it is the byte code that was used.
    assert value_of("value = 2\n", mtime=1_000_000_000) == 1


def test_stale_byte_code_is_not_used(value_of):
    assert value_of("value = 1\n", mtime=1_000_000_000) == 1
    assert value_of("value = 2\n", mtime=1_000_000_002) == 2
    assert value_of("value = 333\n", mtime=1_000_000_002) == 333


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 200])
def test_damaged_byte_code_is_what_it_is_for_python(tmp_path, value_of, damage):
    assert value_of("value = 1\n") == 1
    whole = byte_code(tmp_path).read_bytes()
    byte_code(tmp_path).write_bytes(damage)
    assert value_of() == 1
    byte_code(tmp_path).write_bytes(whole[:16] + b"\0" * 40)  # a header that is right
    with pytest.raises(deploy.Error, match="ValueError|EOFError|ImportError"):
        value_of()


def test_hash_checked_byte_code_is_checked(tmp_path, value_of):
    (tmp_path / "subject.py").write_text("value = 1\n")
    compileall.compile_dir(tmp_path, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    assert value_of() == 1
    assert value_of("value = 2\n") == 2


def test_tracebacks_name_the_file_where_it_lies_now(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "subject.py").write_text("def fail():\n    raise ValueError('x')\n")
    deploy.Interpreter(deploy.Environment(extra_paths=[old])).acquire_session().import_module("subject")
    assert byte_code(old).exists()
    old.rename(new)
    session = deploy.Interpreter(deploy.Environment(extra_paths=[new])).acquire_session()
    with session, pytest.raises(deploy.Error) as caught:
        session.global_("subject", "fail")()
    assert f'File "{new}/subject.py", line 2, in fail' in caught.value.traceback
    assert "raise ValueError('x')" in caught.value.traceback


def test_the_collector_is_as_before_after_an_import_and_leaves_what_was_preloaded_alone(tmp_path):
    (tmp_path / "looks.py").write_text("import gc\nseen = gc.get_threshold()\n")
    (tmp_path / "sets.py").write_text("import gc\ngc.set_threshold(5, 6, 7)\n")
    (tmp_path / "fails.py").write_text("raise ValueError('no')\n")
    interpreter = deploy.Interpreter(deploy.Environment(extra_paths=[tmp_path], preload=["json", "decimal"]))
    with interpreter.acquire_session() as session:

        def gc(name):
            return session.global_("gc", name)().to_value()

        usual = gc("get_threshold")
        assert session.global_("looks", "seen").to_value()[0] > usual[0]
        assert gc("get_threshold") == usual
        with pytest.raises(deploy.Error, match="ValueError: no"):
            session.import_module("fails")
        assert gc("get_threshold") == usual
        session.import_module("sets")
        assert gc("get_threshold") == (5, 6, 7)
        assert gc("isenabled")
        assert gc("get_freeze_count") > 1000


def test_a_cycle_made_after_boot_is_collected_and_one_made_before_ends_with_the_interpreter(tmp_path):
    (tmp_path / "cycles.py").write_text(
        "class Cycle:\n    def __init__(self, name):\n        self.me, self.name = self, name\n"
        "    def __del__(self):\n        print(self.name)\n"
        "kept = Cycle('early')\nCycle('dropped early')\n"
    )
    lines = []
    environment = deploy.Environment(extra_paths=[tmp_path], preload=["cycles"], on_output=lambda *line: lines.append(line[2]))
    interpreter = deploy.Interpreter(environment)
    with interpreter.acquire_session() as session:
        session.global_("cycles", "Cycle")("late")
        session.global_("gc", "collect")()
        assert lines == ["late"]
    del session, interpreter
    assert sorted(lines[1:]) == ["dropped early", "early"]


def test_inspect_finds_modules_of_frames_as_ever(tmp_path, value_of):
    source = """
import inspect, os, sys, types

def here():
    return sys._getframe()

def name_of(frame, *file):
    module = inspect.getmodule(frame, *file)
    return module and module.__name__

def frame_of(code, file, **names):
    names["sys"] = sys
    exec(compile("frame = sys._getframe()", file, "exec"), names)
    return names["frame"]

other = types.ModuleType("other")
other.__file__ = os.__file__
sys.modules["other"] = other
info = inspect.getframeinfo(here(), context=3)
value = [
    name_of(here()),
    name_of(here(), __file__),
    name_of(here(), os.__file__) == name_of(frame_of("", os.__file__), os.__file__),
    name_of(frame_of("", __file__, __name__="other", __file__=__file__), __file__),
    name_of(frame_of("", "elsewhere.py", __name__="other", __file__="elsewhere.py"), "elsewhere.py"),
    name_of(frame_of("", "nowhere.py", __name__=["no", "name"], __file__="nowhere.py"), "nowhere.py"),
    name_of(name_of), name_of(inspect), name_of(3),
    os.path.basename(info.filename), info.lineno, info.function, info.code_context, info.index,
    inspect.getsource(inspect.getmodule).startswith("def getmodule"),
]
"""
    inside = value_of(source)
    names = {"__name__": "subject", "__file__": str(tmp_path / "subject.py")}
    subject = types.ModuleType("subject")
    subject.__file__ = names["__file__"]
    subject.__dict__.update(names)
    sys.modules["subject"] = subject
    try:
        exec(compile(source, names["__file__"], "exec"), subject.__dict__)
    finally:
        del sys.modules["subject"], sys.modules["other"]
    assert inside == subject.value
    assert inside[:2] == ["subject", "subject"] and inside[12] == ["def here():\n", "    return sys._getframe()\n", "\n"]


def test_dataclasses_with_the_same_fields_are_different_classes(value_of):
    result = value_of("""
import dataclasses, traceback

def make(default, **options):
    @dataclasses.dataclass(**options)
    class Point:
        x: int
        y: int = default
    return Point

A, B, Frozen = make(1), make(2), make(1, frozen=True)
try:
    A()
except TypeError as error:
    message = str(error)
try:
    Frozen(0).x = 1
except dataclasses.FrozenInstanceError as error:
    frames = [(frame.filename, frame.name) for frame in traceback.extract_tb(error.__traceback__)][1:]
value = [
    A(0).y, B(0).y, A(0) == A(0), A(0) == B(0, 1), repr(B(5)), message, frames,
    A.__init__ is B.__init__, hash(Frozen(0)) == hash(Frozen(0)), A.__init__.__qualname__, A.__doc__,
]
""")
    message = "make.<locals>.Point.__init__() missing 1 required positional argument: 'x'"
    assert result == [
        *(1, 2, True, False, "make.<locals>.Point(x=5, y=2)", message, [("<string>", "__setattr__")]),
        *(False, True, "make.<locals>.Point.__init__", "Point(x: int, y: int = 1)"),
    ]
