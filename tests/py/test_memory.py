"""Interpreter.memory(), the limit, and what does not leak into an interpreter's heap from the machine."""

import ctypes.util
import os
import subprocess
import sys
import threading

import pytest

import deploy

TORCH = """
import torch
def too_much():
    return torch.zeros(1 << 30)
def some(n):
    return torch.ones(n).sum().item()
def train():
    model = torch.nn.Linear(64, 64)
    model(torch.ones(8, 64)).sum().backward()
    return model.weight.grad.sum().item()
"""

MEGABYTE = 1 << 20


def run(code, **variables):
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_bare_interpreter_is_small():
    memory = deploy.Interpreter(deploy.Environment.bare()).memory()
    assert memory.private_heap
    assert MEGABYTE < memory.heap <= memory.heap_peak < 32 * MEGABYTE
    assert memory.heap_limit == 0
    assert memory.library_data > 0


def test_torch_beyond_the_limit_raises_its_own_error_and_the_interpreter_goes_on(torch):
    environment = deploy.Environment.from_running_python()
    environment.memory_limit = 600 * MEGABYTE
    interpreter = deploy.Interpreter(environment)
    interpreter.register_module("limited", TORCH)
    with interpreter.acquire_session() as session:
        with pytest.raises(deploy.Error, match="can't allocate memory") as caught:
            session.global_("limited", "too_much")()
        assert caught.value.python_type == "RuntimeError"
        assert session.global_("limited", "some")(1000).to_value() == 1000
    assert interpreter.memory().heap_peak <= 600 * MEGABYTE


def test_an_interpreter_that_ran_a_backward_is_gone_when_it_is_gone(torch):
    interpreter = deploy.Interpreter(deploy.Environment.from_running_python())
    interpreter.register_module("limited", TORCH)
    with interpreter.acquire_session() as session:
        assert session.global_("limited", "train")().to_value() == 64 * 64 * 8
    before = deploy.stranded_interpreters()
    del session, interpreter
    assert deploy.stranded_interpreters() == before


# What a machine cannot give, and what costs nothing until it is written; with each the error that plain Python raises here.
EXTREMES = """
import io, mmap, resource
import numpy as np
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
def outcome(name, argument):
    before = resident()
    try:
        value = CASES[name](argument)
        return "fine", resident() - before < (8 << 20)
    except Exception as error:
        return type(error).__name__, resident() - before < (8 << 20)
CASES = {
    "numpy.empty": lambda n: np.empty(n, "u1"),
    "numpy.zeros": lambda n: np.zeros(n, "u1"),
    "numpy.full_like": lambda n: np.full_like(np.empty(0, "u1"), 0, shape=n),
    "numpy.resize": lambda n: np.empty(1 << 20, "u1").resize(n, refcheck=False),
    "bytearray": bytearray,
    "bytes": bytes,
    "read": lambda n: open("/dev/null", "rb").read(n) and None,
    "unbuffered read": lambda n: open("/dev/null", "rb", buffering=0).read(n),
    "list": lambda n: [None] * n,
    "str": lambda n: "x" * n,
    "truncate": lambda n: io.BytesIO().truncate(n),
    "seek and write": lambda n: (b := io.BytesIO(), b.seek(n), b.write(b"x")),
    "extend": lambda n: bytearray(1 << 20).extend(range(0)) or bytearray(1 << 20) * (n >> 20),
    "mmap": lambda n: mmap.mmap(-1, n),
}
"""
TORCH_EXTREMES = """
import torch
def outcome(name, argument):
    try:
        getattr(torch, name)(argument, dtype=torch.uint8)
        return "fine"
    except Exception as error:
        return type(error).__name__
"""
HUGE = [1 << 40, 1 << 43, 1 << 44, (1 << 47) - 4096, 1 << 47, 1 << 48, 1 << 62, (1 << 63) - 1, -1]


@pytest.fixture(scope="module")
def extreme():
    interpreter = deploy.Interpreter(deploy.Environment.from_running_python())
    interpreter.register_module("extremes", EXTREMES)
    here = {}
    exec(EXTREMES, here)
    return interpreter, here["outcome"]


CASES = [
    "numpy.empty", "numpy.zeros", "numpy.full_like", "numpy.resize", "bytearray", "bytes", "read", "unbuffered read", "list", "str",
    "truncate", "seek and write", "extend", "mmap",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_more_than_the_machine_has_is_refused_at_once_as_in_plain_python(extreme, case):
    pytest.importorskip("numpy")
    interpreter, plain = extreme
    with interpreter.acquire_session() as session:
        outcome = session.global_("extremes", "outcome")
        for size in HUGE:
            if case in ("seek and write", "truncate") and size == -1:
                continue
            expected, _ = plain(case, size)
            found, untouched = outcome(case, size).to_value()
            assert (found, untouched) == (expected, True), size
            assert outcome("bytes", 10).to_value()[0] == "fine"


def test_what_costs_nothing_in_plain_python_costs_nothing_inside(extreme):
    pytest.importorskip("numpy")
    interpreter, _ = extreme
    with interpreter.acquire_session() as session:
        outcome = session.global_("extremes", "outcome")
        for case in ("numpy.empty", "numpy.zeros", "bytes", "mmap"):
            for size in (1 << 20, 1 << 27, 1 << 30):
                assert tuple(outcome(case, size).to_value()) == ("fine", True), (case, size)


def test_a_tensor_beyond_the_machine_is_torchs_own_error_and_the_next_works(torch):
    interpreter = deploy.Interpreter(deploy.Environment.from_running_python())
    interpreter.register_module("extremes", TORCH_EXTREMES)
    with interpreter.acquire_session() as session:
        outcome = session.global_("extremes", "outcome")
        for function in ("empty", "zeros", "ones"):
            for size in HUGE:
                assert outcome(function, size).to_value() == "RuntimeError", (function, size)
                assert outcome(function, 1000).to_value() == "fine"


@pytest.mark.parametrize("limit", [-1, "much"])
def test_a_limit_is_a_number_of_bytes(limit):
    environment = deploy.Environment.bare()
    environment.memory_limit = limit
    with pytest.raises((deploy.Error, TypeError, RuntimeError)):
        deploy.Interpreter(environment)


ONE = "import deploy; i = deploy.Interpreter(deploy.Environment.bare()); print(i.memory().private_heap, i.memory().heap > 0)"


def test_a_preloaded_malloc_serves_interpreters_as_well_and_memory_says_so():
    library = ctypes.util.find_library("mimalloc")
    assert library
    assert run(ONE, LD_PRELOAD=library).stdout.split() == ["False", "True"]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="from 3.13 on CPython has a mimalloc of its own, which reads these")
def test_settings_of_the_allocator_in_the_environment_are_not_the_interpreters():
    done = run(ONE, MIMALLOC_VERBOSE="1", MIMALLOC_SHOW_STATS="1", MIMALLOC_LIMIT_OS_ALLOC="1")
    assert done.stdout.split() == ["True", "True"]
    assert done.stderr == ""


TURNS = """
def work():
    return sum(len(str(i)) for i in [dict(a=j) for j in range(3000)])
"""
ENCODER = """
import torch
torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
model = torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()
def work():
    torch.set_num_threads(1)  # the pools of OpenMP, one for each thread of the host, are threads of their own
    with torch.inference_mode():
        return model(torch.ones(4, 100, 128)).sum().item()
def is_in_the_environment(name):
    import os
    return name in os.environ
"""


def heap_of_threads(manager, count):
    """The heap of all interpreters once each of `count` threads, which all live, has called each of them three times."""
    interpreters = manager.interpreters
    everyone = threading.Barrier(count + 1)

    def body():
        for interpreter in interpreters:
            for _ in range(3):
                with interpreter.acquire_session() as session:
                    session.global_("turns", "work")().to_value()
        everyone.wait()
        everyone.wait()

    threads = [threading.Thread(target=body) for _ in range(count)]
    for thread in threads:
        thread.start()
    everyone.wait()
    heap = sum(interpreter.memory().heap for interpreter in interpreters)
    everyone.wait()
    for thread in threads:
        thread.join()
    return heap


def test_many_threads_over_bare_interpreters_need_the_memory_of_one():
    manager = deploy.InterpreterManager(interpreters=2, environment=deploy.Environment.bare())
    manager.register_module("turns", TURNS)
    few = heap_of_threads(manager, 4)
    # Python's own state of a thread is 16 kB; mimalloc's would be 2 MB, 96 in all.
    assert heap_of_threads(manager, 24) <= few + 5 * MEGABYTE
    assert heap_of_threads(manager, 24) <= few + 5 * MEGABYTE


def test_many_threads_over_interpreters_with_torch_need_a_tenth_more_than_one(torch):
    manager = deploy.InterpreterManager(interpreters=2, environment=deploy.Environment.from_running_python())
    manager.register_module("turns", ENCODER)
    one = heap_of_threads(manager, 1)
    assert heap_of_threads(manager, 24) <= 1.1 * one
    with manager.acquire_session() as session:
        assert not session.global_("turns", "is_in_the_environment")("MKL_DISABLE_FAST_MM").to_value()


SLEEPER = """
import threading, time
def start():
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
"""


def test_an_interpreter_whose_thread_does_not_end_is_named():
    interpreter = deploy.Interpreter(deploy.Environment.bare())
    interpreter.register_module("sleeper", SLEEPER)
    with interpreter.acquire_session() as session:
        session.global_("sleeper", "start")()
    number = interpreter.id
    del session, interpreter
    [reason] = [reason for stranded, reason in deploy.stranded_interpreters() if stranded == number]
    told = f"interpreter-{number} cannot be unloaded: 1 thread(s) run, one of them started by <image>/lib"
    assert reason.startswith((told + "deploy_guest.so", told + "python"))
