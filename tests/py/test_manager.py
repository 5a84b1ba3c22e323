"""InterpreterManager: boots interpreters, places sessions on them, closes."""

import threading
import time

import pytest
from conftest import in_each_interpreter

import deploy

BARE = deploy.Environment.bare()


def test_a_manager_has_its_interpreters(bare_manager):
    assert len(bare_manager) == 2
    ids = [interpreter.id for interpreter in bare_manager.interpreters]
    assert len(set(ids)) == 2
    with bare_manager.interpreters[1].acquire_session() as session:
        assert session.interpreter.id == ids[1]


def test_each_interpreter_is_a_python_of_its_own(bare_manager):
    results = in_each_interpreter(bare_manager, lambda session: session.global_("probe", "identity_of_none")().to_value())
    assert len({*results, id(None)}) == 3


def test_the_python_inside_is_the_one_that_the_version_names(bare_manager):
    with bare_manager.acquire_session() as session:
        major, minor = session.global_("sys", "version_info").to_value()[:2]
    assert deploy.python_version() == f"{major}.{minor}"


def test_a_registered_module_is_importable_in_every_interpreter(bare_manager):
    bare_manager.register_module("registered", "def double(x):\n    return 2 * x\n")
    results = in_each_interpreter(bare_manager, lambda session: session.global_("registered", "double")(21).to_value())
    assert results == [42, 42]


def test_a_registered_package_has_submodules(bare_manager):
    bare_manager.register_module("pack", "from pack.inner import x\n")
    bare_manager.register_module("pack.inner", "x = 7\n")
    assert in_each_interpreter(bare_manager, lambda session: session.global_("pack", "x").to_value()) == [7, 7]


def test_a_registered_module_with_a_syntax_error_fails_at_import(bare_manager, raises):
    bare_manager.register_module("broken", "def f(:\n")
    with bare_manager.acquire_session() as session, raises(deploy.ErrorCode.PYTHON) as caught:
        session.import_module("broken")
    assert caught.value.python_type == "SyntaxError"


def test_modules_are_isolated(bare_manager):
    first, second = bare_manager.interpreters
    with first.acquire_session() as session:
        session.global_("probe", "remember")(1)
    with second.acquire_session() as session:
        assert not session.import_module("probe").hasattr("kept")
    with first.acquire_session() as session:
        assert session.global_("probe", "kept").to_value() == 1


@pytest.mark.parametrize("count", [0, -1])
def test_a_manager_needs_an_interpreter(raises, count):
    with raises(deploy.ErrorCode.INVALID_ARGUMENT) as caught:
        deploy.InterpreterManager(interpreters=count, environment=BARE)
    assert str(count) in caught.value.message


def test_managers_are_made_used_and_closed_again_and_again():
    for _ in range(3):
        with deploy.InterpreterManager(interpreters=2, environment=BARE) as manager:
            assert in_each_interpreter(manager, lambda session: session.global_("math", "gcd")(4, 6).to_value()) == [2, 2]


def test_a_closed_manager_says_so(raises):
    manager = deploy.InterpreterManager(environment=BARE)
    interpreter = manager.interpreters[0]
    manager.close()
    manager.close()
    for use in (
        manager.acquire_session,
        interpreter.acquire_session,
        lambda: manager.register_module("m", ""),
        lambda: manager.load_package("x"),
    ):
        with raises(deploy.ErrorCode.CLOSED) as caught:
            use()
        assert "closed" in caught.value.message


def test_a_thread_cannot_close_under_its_own_session(raises):
    manager = deploy.InterpreterManager(environment=BARE)
    with manager.acquire_session() as session:
        with raises(deploy.ErrorCode.INVALID_ARGUMENT):
            manager.close()
        assert session.from_value(1).to_value() == 1
    manager.close()


def test_close_waits_for_what_runs_and_refuses_what_waits():
    manager = deploy.InterpreterManager(environment=BARE)
    running, outcome = threading.Event(), {}

    def hold():
        with manager.acquire_session() as session:
            running.set()
            session.global_("time", "sleep")(0.3)
            outcome["held"] = session.from_value("finished").to_value()

    def wait():
        try:
            manager.acquire_session()
        except deploy.Error as error:
            outcome["waited"] = error.code

    threads = [threading.Thread(target=hold), threading.Thread(target=wait)]
    threads[0].start()
    running.wait()
    threads[1].start()
    time.sleep(0.05)
    manager.close()
    for thread in threads:
        thread.join()
    assert outcome == {"held": "finished", "waited": deploy.ErrorCode.CLOSED}


def test_waiting_threads_get_the_interpreter_in_order_of_arrival(bare_manager):
    with deploy.InterpreterManager(environment=BARE) as manager:
        order, threads = [], []

        def use(number):
            with manager.acquire_session():
                order.append(number)

        with manager.acquire_session():
            for number in range(5):
                threads.append(threading.Thread(target=use, args=(number,)))
                threads[-1].start()
                time.sleep(0.03)
        for thread in threads:
            thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_a_call_releases_the_callers_gil(bare_manager):
    """Both interpreters sleep at once in this process's one Python, and a host thread runs meanwhile."""
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0.001)

    counter = threading.Thread(target=count)
    counter.start()
    start = time.monotonic()
    in_each_interpreter(bare_manager, lambda session: session.global_("time", "sleep")(0.5))
    elapsed = time.monotonic() - start
    stop.set()
    counter.join()
    assert elapsed < 0.95
    assert counted[0] > 10
