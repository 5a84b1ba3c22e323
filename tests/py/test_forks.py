"""Processes that are forked from a host, by the host or by code inside, and those that code inside starts with another Python."""

import subprocess
import sys
import textwrap

import pytest

import deploy

PRELUDE = """
import os, sys, threading, time
import deploy
bare = deploy.Environment.bare()
def status_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def run(source, timeout=120):
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PRELUDE + textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "what",
    ["pass", "manager.close()", "del manager", "session.close()", "del session", "interpreter = None", "del x"],
)
def test_a_child_that_exits_keeps_its_status_whatever_it_drops(what):
    run(
        f"""
        manager = deploy.InterpreterManager(2, bare)
        interpreter = deploy.Interpreter(bare)
        session = manager.acquire_session()
        x = session.from_value([1])
        child = os.fork()
        if child == 0:
            {what}
            sys.exit(7)
        assert status_of(child) == 7
        assert session.from_value([2]).to_value() == [2]
        """
    )


def test_a_child_is_told_to_make_a_manager_of_its_own_and_can():
    out = run(
        """
        manager = deploy.InterpreterManager(2, bare)
        child = os.fork()
        if child == 0:
            try:
                manager.acquire_session()
            except deploy.Error as error:
                assert error.code == deploy.ErrorCode.CLOSED, error
                assert "was forked from the one that made the interpreter" in str(error), error
            else:
                assert False
            own = deploy.InterpreterManager(1, bare)
            session = own.acquire_session()
            session.global_("builtins", "print")(session.global_("math", "gcd")(12, 18).to_value())
            session.close()
            sys.exit(5)
        assert status_of(child) == 5
        """
    )
    assert out == "6\n"


def test_children_of_multiprocessing_in_the_host_exit_while_other_threads_call():
    run(
        """
        import multiprocessing
        manager = deploy.InterpreterManager(2, bare)
        done = False
        def use():
            while not done:
                with manager.acquire_session() as session:
                    session.global_("math", "gcd")(4, 6).to_value()
        threads = [threading.Thread(target=use) for _ in range(3)]
        for thread in threads:
            thread.start()
        context = multiprocessing.get_context("fork")
        for _ in range(20):
            child = context.Process(target=sys.exit, args=(3,))
            child.start()
            child.join(60)
            assert child.exitcode == 3, child.exitcode
        done = True
        """
    )


def test_code_that_forks_inside_a_call_comes_back_to_the_host_in_both_processes():
    run(
        """
        manager = deploy.InterpreterManager(1, bare)
        done = False
        def spin():
            while not done:
                pass
        other = threading.Thread(target=spin, daemon=True)  # it has the host's GIL at the fork
        other.start()
        for status in range(10):
            with manager.acquire_session() as session:
                child = session.global_("os", "fork")().to_value()
                if child == 0:
                    assert session.global_("math", "gcd")(12, 18).to_value() == 6
                    sys.exit(status)
                assert status_of(child) == status
        done = True
        """
    )


@pytest.fixture
def session():
    with deploy.Interpreter(deploy.Environment.bare()).acquire_session() as session:
        yield session


def test_a_fork_inside_a_call_makes_a_dummy_thread_the_main_one(session):
    session.interpreter.register_module(
        "main_threads",
        textwrap.dedent("""
        import os, threading
        def check():
            threading.current_thread()
            child = os.fork()
            if child == 0:
                main = threading.main_thread()
                right = main is threading.current_thread() and type(main) is threading._MainThread
                right = right and main.name == "MainThread" and not main.daemon and main.is_alive()
                worker = threading.Thread(target=lambda: None)
                worker.start()
                worker.join()
                threading._shutdown()
                os._exit(0 if right else 1)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        """),
    )
    assert session.global_("main_threads", "check")().to_value() == 0


WITH_PYTHON = """
import concurrent.futures, math, multiprocessing, os, sys
def double(x):
    return 2 * x
def where():
    import json, registered_helper
    return [sys.executable, json.__file__, sys.flags.no_site, registered_helper.ANSWER]
def process(python, method):
    multiprocessing.set_executable(python)
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    child = context.Process(target=queue.put, args=(double(21),))
    child.start()
    got = queue.get()
    child.join()
    return [got, child.exitcode]
def pool(python, method):
    multiprocessing.set_executable(python)
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context(method)) as executor:
        return [list(executor.map(math.factorial, range(5))), list(executor.map(double, range(4))), executor.submit(where).result()]
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_start_with_the_python_that_is_given(session, method):
    session.interpreter.register_module("with_python", WITH_PYTHON)
    session.interpreter.register_module("registered_helper", "ANSWER = 42")
    assert session.global_("with_python", "process")(sys.executable, method).to_value() == [42, 0]
    factorials, doubles, place = session.global_("with_python", "pool")(sys.executable, method).to_value()
    assert (factorials, doubles) == ([1, 1, 2, 6, 24], [0, 2, 4, 6])
    assert place[0] == sys.executable and not place[1].startswith("<image>") and place[2:] == [0, 42]


def test_a_python_that_is_given_finds_the_environments_folders_after_its_own_library(tmp_path):
    (tmp_path / "in_folder.py").write_text("def value():\n    import json\n    return [__file__, json.__file__]\n")
    (tmp_path / "json.py").write_text("raise ImportError('not the standard library')\n")
    environment = deploy.Environment(extra_paths=[str(tmp_path)])
    with deploy.Interpreter(environment).acquire_session() as session:
        session.interpreter.register_module(
            "runs_it",
            "import concurrent.futures, multiprocessing, in_folder\n"
            "def run(python):\n"
            "    multiprocessing.set_executable(python)\n"
            "    context = multiprocessing.get_context('spawn')\n"
            "    with concurrent.futures.ProcessPoolExecutor(1, context) as executor:\n"
            "        return executor.submit(in_folder.value).result()\n",
        )
        files = session.global_("runs_it", "run")(sys.executable).to_value()
    assert files[0] == str(tmp_path / "in_folder.py") and files[1] != str(tmp_path / "json.py")


def test_a_child_makes_interpreters_with_torch_beside_those_that_its_parent_has(torch):
    run(
        """
        import torch
        manager = deploy.InterpreterManager(1)
        with manager.acquire_session() as session:
            kept = session.global_("torch", "ones")(3).to_value()
        child = os.fork()
        if child == 0:
            own = deploy.InterpreterManager(1)
            with own.acquire_session() as session:
                x = session.global_("torch", "full")([8, 8], 2.0)
                assert session.global_("torch", "mm")(x, x).call_method("sum").call_method("item").to_value() == 8 * 8 * 32
            del kept
            own.close()
            sys.exit(4)
        assert status_of(child) == 4
        assert torch.from_dlpack(kept).sum().item() == 3
        """
    )


def test_servers_of_multiprocessing_end_with_the_interpreter():
    run(
        f"""
        source = {WITH_PYTHON!r}
        def descriptors():
            return len(os.listdir("/proc/self/fd"))
        def children():
            return open(f"/proc/self/task/{{os.getpid()}}/children").read().split()
        def cycle():
            interpreter = deploy.Interpreter(bare)
            interpreter.register_module("with_python", source)
            with interpreter.acquire_session() as session:
                for method in ("spawn", "forkserver"):
                    assert session.global_("with_python", "process")(sys.executable, method).to_value() == [42, 0]
        cycle()
        before = descriptors()
        cycle()
        assert descriptors() == before and children() == [], (before, descriptors(), children())
        """
    )
