"""Loads the model four times in one WAY and runs each once; prints the figures as JSON.

What is imported is imported before, so that the time of a load is that of the weights and the objects around them. Private memory
is what the process has of its own (anonymous pages) beyond what it had before, for each load, as a share of the weights.
"""

import json
import sys
import time

import package_model
import torch
from torch.package import PackageImporter

import deploy

COUNT = 4


def timed(work):
    start = time.perf_counter()
    result = work()
    return (time.perf_counter() - start) * 1e3, result


def anonymous_bytes():
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) * 1024


class Deploy:
    """One model in each of four interpreters."""

    def __init__(self, package):
        environment = deploy.Environment.from_venv(sys.prefix)
        environment.preload = ["torch"]
        self.manager = deploy.InterpreterManager(COUNT, environment)
        self.open_ms, self.package = timed(lambda: self.manager.load_package(package))
        self.warm = self.package.load_pickle("model", "model.pkl")
        self.warm.preload()
        self.in_sessions(lambda session: session.from_replicated(self.warm)(torch.ones(1, 4096)))

    def in_sessions(self, work):
        for interpreter in self.manager.interpreters:
            with interpreter.acquire_session() as session:
                work(session)

    def load(self):
        first, self.model = timed(lambda: self.package.load_pickle("model", "model.pkl"))
        times = []
        self.in_sessions(lambda session: times.append(timed(lambda: session.from_replicated(self.model))[0]))
        return [first, *sorted(times)[1:]]  # one of them has it already

    def forward(self):
        self.in_sessions(lambda session: session.from_replicated(self.model)(torch.ones(1, 4096)))


class Plain:
    """Four models in one process without deploy."""

    open_ms = 0.0

    def __init__(self, make):
        self.make = make
        make()(torch.ones(1, 4096))
        self.models = []

    def load(self):
        times = []
        for _ in range(COUNT):
            elapsed, model = timed(self.make)
            times.append(elapsed)
            self.models.append(model)
        return times

    def forward(self):
        with torch.no_grad():
            for model in self.models:
                model(torch.ones(1, 4096))


def from_state(state):
    with torch.device("meta"):
        model = package_model.Stack()
    model.load_state_dict(torch.load(state, mmap=True, weights_only=True), assign=True)
    return model


def main():
    way, package, state = sys.argv[1:]
    if way == "deploy":
        subject = Deploy(package)
    elif way == "PackageImporter":
        subject = Plain(lambda: PackageImporter(package).load_pickle("model", "model.pkl"))
    else:
        subject = Plain(lambda: from_state(state))
    with open(package, "rb") as file:
        size = file.seek(0, 2)
    before = anonymous_bytes()
    load_ms = subject.load()
    after_load = anonymous_bytes() - before
    subject.forward()
    after_forward = anonymous_bytes() - before
    print(
        json.dumps(
            {
                "open_ms": subject.open_ms,
                "load_ms": load_ms,
                "private_percent_after_load": 100 * after_load / COUNT / size,
                "private_percent_after_forward": 100 * after_forward / COUNT / size,
            }
        )
    )


if __name__ == "__main__":
    main()
