"""What a process keeps for code inside is gone when the interpreter is: handlers of signals, timers, descriptors."""

import os
import subprocess
import sys
import textwrap

import pytest

import deploy

PRELUDE = """
import ctypes, faulthandler, os, signal, sys, threading
import deploy
bare = deploy.Environment.bare()
class Action(ctypes.Structure):
    _fields_ = [("handler", ctypes.c_void_p), ("mask", ctypes.c_ubyte * 128), ("flags", ctypes.c_int), ("unused", ctypes.c_void_p)]
def handler_of(number):
    action = Action()
    assert ctypes.CDLL(None).sigaction(number, None, ctypes.byref(action)) == 0
    return action.handler
def call(interpreter, module, name, *arguments):
    with interpreter.acquire_session() as session:
        return session.global_(module, name)(*arguments).to_value()
"""


def run(source, timeout=120):
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(source)], capture_output=True, text=True, timeout=timeout
    )


@pytest.mark.parametrize("order", ["first, second", "second, first"])
def test_the_hosts_crash_handler_is_back_after_faulthandler_in_two_interpreters(order):
    result = run(
        f"""
        faulthandler.enable()
        before = [handler_of(number) for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)]
        first, second = deploy.Interpreter(bare), deploy.Interpreter(bare)
        for name in ("first", "second"):
            call(globals()[name], "faulthandler", "enable", 2)
            assert handler_of(signal.SIGSEGV) not in before
        for name in "{order}".split(", "):
            del globals()[name]
        after = [handler_of(number) for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)]
        assert before == after
        print("crashes", flush=True)
        ctypes.string_at(8)
        """
    )
    assert result.returncode == -11 and result.stdout == "crashes\n"
    assert result.stderr.startswith("Fatal Python error: Segmentation fault") and 'File "<string>"' in result.stderr


def test_a_crash_is_told_by_each_interpreter_that_enabled_faulthandler_and_by_the_host():
    result = run(
        """
        faulthandler.enable()
        kept = [deploy.Interpreter(bare), deploy.Interpreter(bare)]
        for each in kept:
            call(each, "faulthandler", "enable", 2)
        ctypes.string_at(8)
        """
    )
    assert result.returncode == -11
    assert result.stderr.count("Fatal Python error: Segmentation fault") == 3


@pytest.mark.parametrize("how", ["faulthandler.register(signal.SIGUSR1, 2)", "signal.signal(signal.SIGUSR1, lambda *_: None)"])
def test_handlers_of_a_preload_leave_the_hosts_as_it_was(tmp_path, how):
    (tmp_path / "handles.py").write_text(f"import faulthandler, signal\n{how}\n")
    result = run(
        f"""
        seen = []
        signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
        before = handler_of(signal.SIGUSR1)
        environment = deploy.Environment(extra_paths=[{str(tmp_path)!r}], preload=["handles"])
        first, second = deploy.Interpreter(environment), deploy.Interpreter(environment)
        assert handler_of(signal.SIGUSR1) != before
        del first
        assert handler_of(signal.SIGUSR1) != before
        del second
        assert handler_of(signal.SIGUSR1) == before
        os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == [1]
        """
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_an_alarm_that_code_inside_left_does_not_end_the_process():
    result = run(
        """
        import time
        interpreter = deploy.Interpreter(bare)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        call(interpreter, "signal", "setitimer", 0, 0.05, 0.05)
        del interpreter
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        time.sleep(0.2)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        """
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_a_subprocess_of_an_interpreter_changes_no_action_of_the_process():
    result = run(
        """
        before = handler_of(signal.SIGPIPE)
        interpreter = deploy.Interpreter(bare)
        for _ in range(3):
            assert call(interpreter, "subprocess", "call", ["/bin/true"]) == 0
        assert handler_of(signal.SIGPIPE) == before == signal.SIG_IGN
        """
    )
    assert (result.returncode, result.stderr) == (0, "")


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("first", ["the manager", "the package"])
@pytest.mark.parametrize("name", ["simple.pt", "resources.pt"])
def test_managers_and_packages_leave_no_descriptor_whichever_is_closed_first(packages, first, name):
    def cycle():
        manager = deploy.InterpreterManager(2)
        package = manager.load_package(packages / name)
        if first == "the manager":
            manager.close()
            del package
        else:
            del package
            manager.close()

    cycle()
    before = descriptors()
    for _ in range(30):
        cycle()
    assert descriptors() == before


def test_replicated_objects_that_hold_files_leave_no_descriptor(tmp_path):
    (tmp_path / "holder.py").write_text(
        "import os\n"
        "class Holder:\n"
        "    def __init__(self):\n"
        "        self.file = open(os.devnull)\n"
        "    def __reduce__(self):\n"
        "        return Holder, ()\n"
        "    def __call__(self):\n"
        "        return self.file.fileno()\n"
    )

    def cycle():
        manager = deploy.InterpreterManager(2, deploy.Environment(extra_paths=[str(tmp_path)]))
        with manager.acquire_session() as session:
            replica = session.replicate(session.global_("holder", "Holder")())
        replica.preload()
        assert replica() > 2
        manager.close()
        return replica

    kept = [cycle()]
    before = descriptors()
    for _ in range(10):
        kept.append(cycle())
    assert descriptors() == before
