"""Calls that are stopped: by their timeout, or by another thread."""

import threading
import time

import pytest

import deploy

ENDLESS = """
def spin(seconds):
    import time
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds

def keywords(**kwargs):
    return kwargs
"""


@pytest.fixture(scope="module")
def endless(bare_manager):
    bare_manager.register_module("endless", ENDLESS)

    def function(name):
        with bare_manager.acquire_session() as session:
            replica = session.replicate(session.global_("endless", name))
        replica.preload()
        return replica

    return function


def test_a_call_that_takes_too_long_is_stopped_and_the_next_one_works(endless, raises):
    spin = endless("spin")
    start = time.monotonic()
    with raises(deploy.ErrorCode.DEADLINE_EXCEEDED) as caught:
        spin.with_timeout(0.05)(60)
    assert time.monotonic() - start < 30
    assert caught.value.python_type == "deploy.Interrupted"
    assert "in spin" in caught.value.traceback
    assert spin.with_timeout(30)(0.01) == spin(0.01) == 0.01


def test_a_timeout_leaves_all_keywords_to_the_call(endless):
    assert endless("keywords").with_timeout(30)(timeout=1, seconds=2) == {"timeout": 1, "seconds": 2}


def test_a_timeout_covers_the_wait_for_an_interpreter(endless, bare_manager, raises):
    spin = endless("spin")
    codes = []

    def call():
        with raises(deploy.ErrorCode.DEADLINE_EXCEEDED) as caught:
            spin.with_timeout(0.03)(0)
        codes.append(caught.value.message)

    with bare_manager.acquire_session(), bare_manager.acquire_session():
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert codes == ["no interpreter became free before the deadline"]


@pytest.mark.parametrize("seconds", [float("nan"), -1, -0.001, float("-inf")])
def test_a_timeout_is_a_number_and_not_negative(endless, bare_manager, raises, seconds):
    with raises(deploy.ErrorCode.INVALID_ARGUMENT) as caught:
        endless("spin").with_timeout(seconds)
    assert caught.value.message.startswith(f"a timeout: found {str(float(seconds))[:4]}")
    assert "expected seconds, 0 or more" in caught.value.message
    assert "set_timeout(None)" in caught.value.message
    with bare_manager.acquire_session() as session, raises(deploy.ErrorCode.INVALID_ARGUMENT):
        session.set_timeout(seconds)


def test_a_timeout_without_end_is_no_limit(endless):
    assert endless("spin").with_timeout(float("inf"))(0) == 0


def test_a_session_with_a_timeout(endless, bare_manager, raises):
    with bare_manager.acquire_session() as session:
        spin = session.global_("endless", "spin")
        session.set_timeout(0.05)
        for _ in range(2):
            with raises(deploy.ErrorCode.DEADLINE_EXCEEDED):
                spin(60)
        session.set_timeout(None)
        assert spin(0).to_value() == 0


@pytest.mark.parametrize("by", ["session", "interpreter"])
def test_another_thread_interrupts_what_runs(endless, bare_manager, raises, by):
    with bare_manager.acquire_session() as session:
        spin = session.global_("endless", "spin")
        target = session if by == "session" else session.interpreter
        stopped = threading.Event()

        def interrupt():
            while not stopped.wait(0.02):
                target.interrupt()

        thread = threading.Thread(target=interrupt)
        thread.start()
        with raises(deploy.ErrorCode.CANCELLED):
            spin(60)
        stopped.set()
        thread.join()
        target.interrupt()
        assert spin(0.01).to_value() == 0.01
