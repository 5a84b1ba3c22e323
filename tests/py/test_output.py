"""What is printed inside comes to a function of the host."""

import subprocess
import sys
import threading

import pytest

import deploy

TALKER = """
import atexit, sys

def say(*words):
    print(*words)

def complain(text):
    print(text, file=sys.stderr)

def at_exit(text):
    atexit.register(print, text)
"""


@pytest.fixture
def talking():
    """(manager of two interpreters, the lines that came)"""
    lines = []
    environment = deploy.Environment(on_output=lambda *line: lines.append(line))
    with deploy.InterpreterManager(interpreters=2, environment=environment) as manager:
        manager.register_module("talker", TALKER)
        yield manager, lines


def call(interpreter, name, *args):
    with interpreter.acquire_session() as session:
        session.global_("talker", name)(*args)


def test_lines_come_with_the_interpreters_id_and_the_stream(talking):
    manager, lines = talking
    first, second = manager.interpreters
    call(first, "say", "grüße", 1)
    call(second, "complain", "two")
    assert lines == [(first.id, "stdout", "grüße 1"), (second.id, "stderr", "two")]


def test_threads_print_at_once(talking):
    manager, lines = talking

    def run(interpreter):
        for i in range(200):
            call(interpreter, "say", i)

    threads = [threading.Thread(target=run, args=(each,)) for each in manager.interpreters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for interpreter in manager.interpreters:
        assert [text for id, _, text in lines if id == interpreter.id] == [str(i) for i in range(200)]


def test_what_is_printed_at_the_interpreters_end_comes_too():
    lines = []
    interpreter = deploy.Interpreter(deploy.Environment(on_output=lambda *line: lines.append(line[2])))
    interpreter.register_module("talker", TALKER)
    call(interpreter, "at_exit", "last words")
    del interpreter
    assert lines == ["last words"]


def test_an_exception_of_the_function_reaches_unraisablehook_only(monkeypatch):
    caught = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: caught.append(unraisable.exc_value))

    def fail(*line):
        raise ValueError(line[2])

    interpreter = deploy.Interpreter(deploy.Environment(on_output=fail))
    interpreter.register_module("talker", TALKER)
    call(interpreter, "say", "x")
    call(interpreter, "say", "y")
    assert [str(each) for each in caught] == ["x", "y"]


def test_the_function_may_not_enter_the_interpreter(monkeypatch):
    caught = []

    def enter(*line):
        try:
            interpreter.acquire_session()
        except deploy.Error as error:
            caught.append(error)

    interpreter = deploy.Interpreter(deploy.Environment(on_output=enter))
    interpreter.register_module("talker", TALKER)
    call(interpreter, "say", "x")
    assert [each.code for each in caught] == [deploy.ErrorCode.WRONG_SESSION]
    assert "its own output callback" in caught[0].message


def test_what_cannot_be_called_is_refused(raises):
    with raises(deploy.ErrorCode.INVALID_ARGUMENT) as caught:
        deploy.Interpreter(deploy.Environment(on_output="print"))
    assert "'print'" in caught.value.message


def test_the_function_is_dropped_with_the_interpreters():
    import gc
    import weakref

    class Sink:
        def __call__(self, *line):
            pass

    sink = Sink()
    gone = weakref.ref(sink)
    environment = deploy.Environment(on_output=sink)
    deploy.InterpreterManager(interpreters=2, environment=environment).close()
    del sink, environment
    gc.collect()
    assert gone() is None


def test_a_process_that_exits_prints_what_is_left():
    source = f"""
import deploy
interpreter = deploy.Interpreter(deploy.Environment(on_output=lambda *line: print("host:", line[2], flush=True)))
interpreter.register_module("talker", {TALKER!r})
with interpreter.acquire_session() as session:
    session.global_("talker", "say")("one")
    session.global_("talker", "at_exit")("two")
"""
    result = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, "host: one\ntwo\n", "")
