"""Loads every shared object of a real environment in two interpreters of one process, and writes docs/environment.md.

    run.py [--build build] [--only PATTERN] [--no-document]

It makes the environment (third_party/environment-requirements.txt) where it is not there yet. Each library is opened by path, each
extension module imported, and each package used, in both interpreters at once, and the same is done in plain Python of that
environment, which says what a failure is worth: what cannot be loaded there either, for the same reason, is none of ours.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import pathlib
import signal
import subprocess
import sys
import time

import document
import libraries
import uses

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from pinned_environment import make_environment  # noqa: E402

ROOT = HERE.parent.parent
PINS = ROOT / "third_party" / "environment-requirements.txt"
USES = [name.removeprefix("use_") for name in vars(uses) if name.startswith("use_")]
IDLE_S = 600  # no task takes that long: what is silent for longer hangs


class Runs:
    """Runs of worker.py; a run that dies is continued after the task it died of."""

    def __init__(self, python: pathlib.Path, build: pathlib.Path):
        self.python = python
        self.build = build
        self.work = build / "environment"

    def do(self, name, mode, tasks):
        """{task: the worker's entry}; a task that ended the process has {"died": how}. Key None: how the last process ended."""
        done = {}
        left = [list(task) for task in tasks]
        while left:
            before = len(left)
            entries, status = self._once(name, mode, left)
            begun = None
            for entry in entries:
                if "begin" in entry:
                    begun = tuple(entry["begin"])
                elif "end" in entry:
                    done[tuple(entry["end"])] = entry
                    begun = None
            closed = any("closed" in entry for entry in entries)
            if begun:
                done[begun] = {"died": status}
            left = [task for task in left if tuple(task) not in done]
            if closed or len(left) == before:
                done[None] = {"ok": closed and status == "ended", "status": status}
                break
            print(f"  {name}/{mode}: {status} in {begun}; going on with {len(left)} tasks", flush=True)
        return done

    def _once(self, name, mode, tasks):
        todo, results, log = (self.work / f"{name}-{mode}.{end}" for end in ("tasks.json", "results.jsonl", "log"))
        todo.write_text(json.dumps(tasks))
        results.write_text("")
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.work), "PYTHONPATH": str(self.build / "python")}
        with log.open("a") as output:
            command = [str(self.python), str(HERE / "worker.py"), mode, str(todo), str(results)]
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=self.work)
            status = self._wait(process, results)
        return [json.loads(line) for line in results.read_text().splitlines()], status

    @staticmethod
    def _wait(process, results):
        seen, since = 0, time.monotonic()
        while True:
            try:
                code = process.wait(timeout=1)
                return "ended" if code == 0 else f"exit status {code}" if code > 0 else signal.Signals(-code).name
            except subprocess.TimeoutExpired:
                size = results.stat().st_size
                if size != seen:
                    seen, since = size, time.monotonic()
                elif time.monotonic() - since > IDLE_S:
                    process.kill()
                    process.wait()
                    return f"silent for {IDLE_S} s"


def again(runs, name, mode, tasks, done):
    """A library of a wheel may find what it needs only after something else: those that failed are tried again, after the rest."""
    failed = [task for task in tasks if "results" in done[task] and not all(r["ok"] for r in done[task]["results"])]
    rest = [task for task in tasks if task not in failed and "results" in done[task]]
    if failed:
        second = runs.do(name + "-again", mode, rest + failed)
        done.update({task: second[task] for task in failed if task in second})
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--base-python", default="/usr/bin/python3.11")
    parser.add_argument("--environment", type=pathlib.Path, default=ROOT / "build" / "environment" / "venv")
    parser.add_argument("--only", default="*", help="libraries whose path, and packages whose name, match")
    parser.add_argument("--no-document", action="store_true", help="print what fails, and leave docs/environment.md as it is")
    options = parser.parse_args()
    build = options.build.resolve()
    (build / "environment").mkdir(parents=True, exist_ok=True)
    python = make_environment(options.environment.absolute(), PINS, options.base_python)
    site = next(options.environment.resolve().glob("lib/python3*/site-packages"))
    found = [library for library in libraries.find(site) if fnmatch.fnmatch(str(library.path), options.only)]
    used = [name for name in USES if fnmatch.fnmatch(name, options.only)]
    print(f"{len(found)} libraries, {sum(1 for library in found if library.module)} of them extension modules", flush=True)

    runs = Runs(python, build)
    batches = {
        "open": [("open_library", str(site / library.path)) for library in found],
        "import": [("import_module", library.module) for library in found if library.module],
        "use": [("use", name) for name in used],
    }
    outcome = {}
    for name, tasks in batches.items():
        for mode in ("plain", "deploy", "beside") if name == "use" else ("plain", "deploy"):
            start = time.monotonic()
            done = runs.do(name, mode, tasks)
            outcome[name, mode] = again(runs, name, mode, tasks, done) if name == "open" else done
            print(f"{name} in {mode}: {time.monotonic() - start:.0f} s", flush=True)
    table = document.Table(site, found, used, outcome)
    if not options.no_document:
        (ROOT / "docs" / "environment.md").write_text(table.text(PINS))
    for line in table.failures():
        print(line)
    print(table.summary())
    sys.exit(1 if table.failures() else 0)


main()
