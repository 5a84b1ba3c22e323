"""With memory_limit reached nothing waits for ever: threads start or raise, whatever else takes the memory meanwhile."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import deploy

environment = deploy.Environment.bare()
environment.memory_limit = int(sys.argv[1]) << 20
environment.on_output = lambda *_: None
interpreter = deploy.Interpreter(environment)
interpreter.register_module("crowd", sys.argv[2])
with interpreter.acquire_session() as session:
    try:
        print(session.global_("crowd", "run")().to_value())
    except deploy.Error as error:
        print(error.python_type, error)
with interpreter.acquire_session() as session:
    session.global_("crowd", "drop")()
    print(session.global_("crowd", "usable")().to_value())
    print(interpreter.memory().heap_peak <= (int(sys.argv[1]) + 8) << 20)
"""

COMMON = """
import threading, time, random
kept = []
def fill(*sizes):
    for size in sizes:
        try:
            while True:
                kept.append(bytearray(size))
        except MemoryError:
            pass
def drop():
    kept.clear()
def usable():
    done = []
    for attempt in range(200):  # threads that ended give their memory back a moment later
        thread = threading.Thread(target=done.append, args=("yes",))
        try:
            thread.start()
        except RuntimeError:
            time.sleep(0.01)
            continue
        thread.join()
        return done[0]
"""

FULL = """
def run():
    fill(1 << 20, 1 << 16, 1000)
    errors = set()
    for _ in range(50):
        try:
            threading.Thread(target=time.sleep, args=(0,)).start()
        except (RuntimeError, MemoryError) as error:
            errors.add(str(error))
    return bool(errors) and errors <= {"can't start new thread", "can't allocate lock", ""}
"""
LITTLE_BY_LITTLE = """
def run():
    stop = threading.Event()
    started = []
    fill(1 << 20, 1 << 16, 1000)
    for freed in range(60):
        for _ in range(freed):
            if kept:
                kept.pop(0)
        for _ in range(20):
            try:
                thread = threading.Thread(target=stop.wait)
                thread.start()
            except (RuntimeError, MemoryError):
                continue
            started.append(thread)
    stop.set()
    for thread in started:
        thread.join()
    return len(started) > 0
"""
BESIDE_A_HOG = """
def run():
    over, ready = [], threading.Event()
    def hog():
        ready.wait()
        while not over:
            try:
                kept.append(bytearray(random.choice((500, 5000, 50000, 500000))))
            except MemoryError:
                if random.random() < 0.1:
                    kept.clear()
    hogs = [threading.Thread(target=hog) for _ in range(3)]
    for thread in hogs:
        thread.start()
    ready.set()
    try:
        outcomes = {"started": 0, "refused": 0}
        for _ in range(400):
            try:
                thread = threading.Thread(target=list, args=(range(1000),))
                thread.start()
                outcomes["started"] += 1
            except (RuntimeError, MemoryError):
                outcomes["refused"] += 1
    finally:
        over.append(True)
    for thread in hogs:
        thread.join()
    return sum(outcomes.values())
"""
FAILS_EARLY = """
def run():
    fill(1 << 20, 1 << 16)
    joined = 0
    for _ in range(50):
        try:
            thread = threading.Thread(target=bytearray, args=(1 << 30,))
            thread.start()
        except (RuntimeError, MemoryError):
            kept.pop()
            continue
        thread.join()
        joined += 1
    return joined > 0
"""
EXECUTOR = """
from concurrent.futures import ThreadPoolExecutor
def run():
    fill(1 << 20)
    outcomes = []
    with ThreadPoolExecutor(8) as pool:
        for i in range(50):
            try:
                outcomes.append(pool.submit(bytearray, 1 << 22))
            except (RuntimeError, MemoryError) as error:
                outcomes.append(error)
    return len(outcomes)
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (FULL, "True"),
        (LITTLE_BY_LITTLE, "True"),
        (BESIDE_A_HOG, "400"),
        (FAILS_EARLY, "True"),
        (EXECUTOR, "50"),
    ],
    ids=["full", "little by little", "beside a hog", "fails early", "executor"],
)
@pytest.mark.parametrize("limit", [40, 100])
def test_no_start_of_a_thread_waits_for_ever(limit, code, expected):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(limit), COMMON + code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.splitlines() == [expected, "yes", "True"], done.stderr


UNABLE = """
class Unable(threading.Thread):
    def _bootstrap(self):
        raise MemoryError
def run():
    thread = Unable(target=print)
    try:
        thread.start()
    except RuntimeError as error:
        return f"{error}; {thread.is_alive()}; {thread in threading.enumerate()}"
    return "started"
"""


def test_a_thread_whose_first_steps_fail_is_reported_to_its_starter():
    command = [sys.executable, "-c", PROGRAM, "100", COMMON + UNABLE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines() == ["can't start new thread; False; False", "yes", "True"], done.stderr
