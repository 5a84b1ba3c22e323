"""Does a list of tasks in one process, each in plain Python or in all interpreters at once, and writes what came of them.

    worker.py plain|deploy|beside TASKS RESULTS

`beside`: the host process has done the same itself before, and so has libraries of the same names and threads of its own.

TASKS is a JSON list of [kind, subject], kind a function of probe.py. RESULTS gets a JSON object a line: {"begin": task} before a
task, {"end": task, "results": [one per interpreter]} after it, and {"closed": true} at the very end. After a crash the driver sees
what was begun.
"""

from __future__ import annotations

import concurrent.futures
import importlib.util
import json
import pathlib
import sys
import threading

HERE = pathlib.Path(__file__).parent
INTERPRETERS = 2


def copies(path):
    """How often a file is mapped from its beginning: once for each copy of a library."""
    with open("/proc/self/maps") as maps:
        return sum(1 for line in maps if line.rstrip("\n").endswith(" " + path) and line.split()[2] == "00000000")


def load(name, file):
    spec = importlib.util.spec_from_file_location(name, HERE / file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def in_plain_python(tasks, note):
    load("environment_uses", "uses.py")
    probe = load("environment_probe", "probe.py")
    for kind, subject in tasks:
        note({"begin": [kind, subject]})
        note({"end": [kind, subject], "results": [getattr(probe, kind)(subject)]})


def in_interpreters(tasks, note):
    import deploy

    environment = deploy.Environment.from_venv(sys.prefix)
    with deploy.InterpreterManager(interpreters=INTERPRETERS, environment=environment) as manager:
        manager.register_module("environment_uses", (HERE / "uses.py").read_text())
        manager.register_module("environment_probe", (HERE / "probe.py").read_text())
        together = threading.Barrier(INTERPRETERS)

        def do(interpreter, kind, subject):
            with interpreter.acquire_session() as session:
                function = session.global_("environment_probe", kind)
                together.wait()
                return function(subject).to_value()

        with concurrent.futures.ThreadPoolExecutor(INTERPRETERS) as pool:
            for kind, subject in tasks:
                note({"begin": [kind, subject]})
                running = [pool.submit(do, interpreter, kind, subject) for interpreter in manager.interpreters]
                done = {"end": [kind, subject], "results": [future.result() for future in running]}
                if kind == "open_library":
                    done["copies"] = copies(subject)
                note(done)


def beside_the_host(tasks, note):
    in_plain_python(tasks, lambda entry: None)
    in_interpreters(tasks, note)


def main():
    mode, tasks, results = sys.argv[1:]
    with open(tasks) as file:
        todo = json.load(file)
    with open(results, "a", buffering=1) as file:

        def note(entry):
            file.write(json.dumps(entry) + "\n")

        {"plain": in_plain_python, "deploy": in_interpreters, "beside": beside_the_host}[mode](todo, note)
        note({"closed": True})


main()
