"""A process ends quietly and at once, whatever its threads and managers do."""

import subprocess
import sys
import textwrap

import pytest

PRELUDE = """
import sys, threading, time
import deploy
bare = deploy.Environment.bare()
"""


def run(source, timeout=60):
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PRELUDE + textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.mark.parametrize(
    "source",
    [
        "manager = deploy.InterpreterManager(2, bare)",
        "manager = deploy.InterpreterManager(2, bare); manager.close()",
        "session = deploy.InterpreterManager(1, bare).acquire_session(); x = session.from_value([1])",
        "y = deploy.InterpreterManager(1, bare).acquire_session().from_value",
        "interpreter = deploy.Interpreter(bare); session = interpreter.acquire_session()",
        "interpreter = deploy.Interpreter(bare)",
        """
        import numpy
        manager = deploy.InterpreterManager(1)
        with manager.acquire_session() as session:
            kept = session.global_("numpy", "ones")(3).to_value()
            session.import_module("builtins").attr("__dict__").call_method("update", {"kept": numpy.ones(4)})
        view = numpy.from_dlpack(kept)
        """,
        """
        cycle = [deploy.InterpreterManager(1, bare)]
        cycle.append(cycle)
        sys.modules["kept for ever"] = cycle
        """,
        """
        manager = deploy.InterpreterManager(1, bare)
        session = manager.acquire_session()
        objects = [session.import_module("json"), session.from_value([1, 2])]
        """,
    ],
    ids=[
        "a manager",
        "a closed manager",
        "an open session",
        "a bound method",
        "an interpreter with a session",
        "an interpreter",
        "tensors on both sides",
        "a cycle",
        "a session and its objects",
    ],
)
def test_a_process_that_forgot_to_close_exits_cleanly(source):
    result = run(source)
    assert (result.returncode, result.stderr, result.stdout) == (0, "", "")


def test_exit_does_not_wait_for_daemon_threads_in_a_call():
    result = run(
        """
        manager = deploy.InterpreterManager(1, bare)
        started = threading.Event()
        def hang():
            with manager.acquire_session() as session:
                sleep = session.global_("time", "sleep")
                started.set()
                sleep(600)
        threading.Thread(target=hang, daemon=True).start()
        started.wait()
        time.sleep(0.1)
        """,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_exit_survives_daemon_threads_that_call_all_the_time():
    result = run(
        """
        manager = deploy.InterpreterManager(2, bare)
        def use():
            while True:
                with manager.acquire_session() as session:
                    session.global_("math", "gcd")(4, 6).to_value()
        for _ in range(4):
            threading.Thread(target=use, daemon=True).start()
        time.sleep(0.3)
        """,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_exit_lets_ordinary_threads_finish_their_calls():
    result = run(
        """
        manager = deploy.InterpreterManager(1, bare)
        def use():
            with manager.acquire_session() as session:
                session.global_("time", "sleep")(0.3)
                print(session.from_value("finished").to_value())
        threading.Thread(target=use).start()
        """,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "finished\n", "")


def test_what_the_interpreters_print_is_written_at_exit():
    result = run(
        """
        manager = deploy.InterpreterManager(2, bare)
        for interpreter in manager.interpreters:
            with interpreter.acquire_session() as session:
                session.global_("builtins", "print")("printed inside")
        """,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "printed inside\n" * 2, "")


def test_exit_does_not_wait_for_a_session_that_a_daemon_thread_gave_away():
    result = run(
        """
        manager = deploy.InterpreterManager(1, bare)
        sessions = []
        def acquire():
            sessions.append(manager.acquire_session())
            time.sleep(600)
        threading.Thread(target=acquire, daemon=True).start()
        while not sessions:
            time.sleep(0.001)
        sessions.clear()
        """,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_exit_runs_the_atexit_functions_of_the_interpreters():
    result = run(
        """
        manager = deploy.InterpreterManager(1, bare)
        manager.register_module("at_exit", "import atexit, os\\natexit.register(os.write, 1, b'bye')\\n")
        manager.acquire_session().import_module("at_exit")
        """,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "bye", "")


def test_sys_exit_and_an_exception_keep_their_exit_code():
    assert run("manager = deploy.InterpreterManager(1, bare); sys.exit(7)").returncode == 7
    result = run("manager = deploy.InterpreterManager(1, bare); manager.load_package('/nowhere')")
    assert result.returncode == 1
    assert "deploy.Error: " in result.stderr and "/nowhere" in result.stderr


def test_torch_in_host_and_interpreters_exits_cleanly(torch):
    result = run(
        """
        import torch
        manager = deploy.InterpreterManager(2)
        def use():
            with manager.acquire_session() as session:
                x = session.global_("torch", "ones")(100, 100)
                for _ in range(20):
                    x = session.global_("torch", "mm")(x, x)
        threads = [threading.Thread(target=use) for _ in range(2)]
        [thread.start() for thread in threads]
        print(torch.ones(3).sum().item())
        """,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "3.0\n", "")
