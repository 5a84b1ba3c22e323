"""What becomes of interpreters that end under unusual circumstances."""

import json
import sys
import threading
import time

from interpreters import in_a_process_of_its_own

MEGABYTE = 1 << 20
MODULE = """
import atexit, threading, time
kept = []
def hold(megabytes):
    kept.extend(bytearray(1 << 20) for _ in range(megabytes))
def drop():
    kept.clear()
    return "goes on"
def loop():
    while True:
        pass
def raise_at_exit():
    atexit.register(lambda: 1 / 0)
def spin():
    while True:
        time.sleep(0.001)
def start_daemons(count):
    for _ in range(count):
        threading.Thread(target=spin, daemon=True).start()
"""
TORCH = """
import torch
def tensor():
    return torch.full((1000,), 3.0)
def backward():
    model = torch.nn.Linear(64, 64)
    model(torch.ones(8, 64)).sum().backward()
    return float(model.weight.grad.sum())
def too_much():
    return torch.zeros(1 << 30)
def on_many_threads():
    torch.set_num_threads(3)
    return float(torch.ones(1 << 20).sum())
"""


class Outcomes:
    def __init__(self):
        import deploy  # noqa: PLC0415

        self.deploy = deploy

    def make(self, source=MODULE, limit=0):
        torch = source is TORCH
        environment = self.deploy.Environment.from_venv(sys.prefix) if torch else self.deploy.Environment.bare()
        environment.memory_limit = limit
        environment.on_output = lambda _id, _stream, _line: None
        interpreter = self.deploy.Interpreter(environment)
        interpreter.register_module("bench", source)
        return interpreter

    def call(self, interpreter, name, *arguments):
        with interpreter.acquire_session() as session:
            return session.global_("bench", name)(*arguments).to_value()

    def error_of(self, interpreter, name, *arguments):
        try:
            self.call(interpreter, name, *arguments)
        except self.deploy.Error as error:
            return f"{error.code.name}, {error.python_type or 'no Python type'}"
        return "no error"

    def hits_its_memory_limit(self):
        interpreter = self.make(limit=200 * MEGABYTE)
        error = self.error_of(interpreter, "hold", 1000)
        return f"{error}; then it {self.call(interpreter, 'drop')}, peak {interpreter.memory().heap_peak / MEGABYTE:.0f} of 200 MB"

    def torch_hits_the_limit(self):
        interpreter = self.make(TORCH, limit=600 * MEGABYTE)
        error = self.error_of(interpreter, "too_much")
        return f"{error}; then it computes {self.call(interpreter, 'backward'):.0f}"

    def loops_for_ever_and_is_interrupted(self):
        interpreter = self.make()
        threading.Timer(0.2, interpreter.interrupt).start()
        start = time.monotonic()
        error = self.error_of(interpreter, "loop")
        return f"{error} after {time.monotonic() - start:.1f} s (asked after 0.2); then it {self.call(interpreter, 'drop')}"

    def raises_in_atexit(self):
        self.call(self.make(), "raise_at_exit")
        return "gone"

    def destroyed_while_the_host_holds_its_tensor(self):
        interpreter = self.make(TORCH)
        tensor = self.call(interpreter, "tensor")
        del interpreter
        values = memoryview_of(tensor)
        return f"the tensor reads {values}; the interpreter goes with it"

    def starts_daemon_threads(self):
        self.call(self.make(), "start_daemons", 4)
        return "gone"

    def has_live_objects(self):
        interpreter = self.make()
        with interpreter.acquire_session() as session:
            kept = session.global_("bench", "kept")
        del session, interpreter
        try:
            kept.to_value()
        except self.deploy.Error as error:
            return f"gone; the object: {error.code.name}"
        return "the object still works"

    def ran_a_backward(self):
        return f"computed {self.call(self.make(TORCH), 'backward'):.0f}; gone"

    def ran_torch_on_a_thread_of_the_host_that_goes_on(self):
        goes_on, ended = threading.Event(), threading.Event()
        held, kept, results = [], [], []

        def serve():
            results.append(self.call(held[0], "on_many_threads"))
            ended.set()
            goes_on.wait()

        thread = threading.Thread(target=serve)
        for _ in range(2):
            held.append(self.make(TORCH))
            if not thread.ident:
                thread.start()
                ended.wait()
            held.clear()
            kept.append(self.kept())
        goes_on.set()
        thread.join()
        self.call(self.make(), "drop")
        return (
            f"computed {results[0]:.0f}; kept for its pool: {kept[0]}, after another interpreter {kept[1]}, at last {self.kept()}"
        )

    def kept(self):
        return ", ".join(f"{path.rsplit('/', 1)[-1]} ({n} threads)" for path, n in self.deploy.kept_libraries()) or "nothing"

    NAMES = (
        hits_its_memory_limit,
        torch_hits_the_limit,
        loops_for_ever_and_is_interrupted,
        raises_in_atexit,
        destroyed_while_the_host_holds_its_tensor,
        starts_daemon_threads,
        has_live_objects,
        ran_a_backward,
        ran_torch_on_a_thread_of_the_host_that_goes_on,
    )


def memoryview_of(tensor):
    import torch  # noqa: PLC0415

    return torch.from_dlpack(tensor)[:3].tolist()


def work():
    outcomes = Outcomes()
    report = {}
    for outcome in Outcomes.NAMES:
        before = len(outcomes.deploy.stranded_interpreters())
        text = outcome(outcomes)
        stayed = [reason for _id, reason in outcomes.deploy.stranded_interpreters()[before:]]
        report[outcome.__name__.replace("_", " ")] = text + (f"; STAYED: {stayed[0]}" if stayed else "")
    print(json.dumps(report))


def run(_build):
    report = in_a_process_of_its_own("outcomes")
    for name, outcome in report.items():
        print(f"an interpreter that {name}: {outcome}", flush=True)
    return report


if __name__ == "__main__":
    work()
