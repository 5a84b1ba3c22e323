"""What belongs to a thread and decides a computation: each interpreter's own on each thread, and the host's as it was."""

import threading

import pytest

import deploy

SOURCE = """
import torch

def threads(number=None):
    if number:
        torch.set_num_threads(number)
    torch.ones(4, 4) @ torch.ones(4, 4)
    return torch.get_num_threads()

def flush(on=None):
    if on is not None:
        torch.set_flush_denormal(on)
    return float(torch.tensor(1e-310, dtype=torch.float64) * 0.5)
"""


@pytest.fixture(scope="module")
def pair(torch):
    """call(0 or 1, function, *arguments) in two interpreters with torch."""
    with deploy.InterpreterManager(2) as manager:
        manager.register_module("thread_settings", SOURCE)

        def call(number, name, *arguments):
            with manager.interpreters[number].acquire_session() as session:
                return session.global_("thread_settings", name)(*arguments).to_value()

        call(0, "threads"), call(1, "threads")
        yield call


def test_the_number_of_threads_of_one_interpreter_is_not_the_others_nor_the_hosts(pair, torch):
    host, other = torch.get_num_threads(), pair(1, "threads")
    assert pair(0, "threads", 3) == 3
    assert torch.get_num_threads() == host
    assert pair(1, "threads") == other
    assert pair(0, "threads") == 3, "kept for its next call on this thread"
    assert pair(1, "threads", 5) == 5
    assert pair(0, "threads") == 3


def test_the_hosts_number_of_threads_is_not_the_interpreters(pair, torch):
    host, inside = torch.get_num_threads(), pair(0, "threads")
    torch.set_num_threads(7)
    try:
        assert pair(0, "threads") == inside
        assert torch.get_num_threads() == 7
    finally:
        torch.set_num_threads(host)


def test_a_new_thread_has_the_number_that_its_interpreter_set(pair):
    pair(0, "threads", 3)
    found = []
    thread = threading.Thread(target=lambda: found.append((pair(0, "threads"), pair(1, "threads"))))
    pair(1, "threads", 2)
    thread.start()
    thread.join()
    assert found == [(3, 2)], "as in a plain process, where torch hands the number on"


def test_denormals_are_flushed_only_where_it_was_asked_for(pair, torch):
    assert pair(0, "flush") != 0
    assert pair(0, "flush", True) == 0
    assert pair(1, "flush") != 0
    assert float(torch.tensor(1e-310, dtype=torch.float64) * 0.5) != 0
    assert pair(0, "flush") == 0, "kept for its next call on this thread"
    assert pair(0, "flush", False) != 0


def test_results_are_the_same_whatever_the_host_has_set(pair, torch):
    before = pair(1, "flush")
    torch.set_flush_denormal(True)
    try:
        inside = pair(1, "flush")
        host = float(torch.tensor(1e-310, dtype=torch.float64) * 0.5)
    finally:
        torch.set_flush_denormal(False)  # comparisons take denormals for zero, too
    assert inside == before != 0
    assert host == 0
