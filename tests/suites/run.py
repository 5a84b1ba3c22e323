"""Runs the test suites of CPython, numpy and torch in plain Python and in an interpreter, and compares.

    run.py [cpython|numpy|torch] [PATTERN] [--build build] [--jobs N] [--reuse] [--no-document]

Each module runs in a process of its own, with a time limit; a process that dies is continued after the test it died of. Results
are kept in build/suites, one file of JSON for each module: a run that was interrupted goes on where it was. They hold for one build
of deploy (--reuse takes those of an earlier one as well). What differs is run once more on both sides; what then differs no longer
is unsteady, and counted as such. A module with differences also runs in plain Python on a second thread: calls come from threads of
the host, and what fails there in plain Python too is explained by that. The rest has to be in known.toml, with a reason. Writes
docs/suites.md when it was asked for all of it.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import fnmatch
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import compare
import document
import sources

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
PINS = ROOT / "third_party" / "suites-requirements.txt"
LIMIT_S = 300  # the longest module takes half of that
SILENT_S = 60  # the longest test takes half of that
MOST_MEMORY = 3 << 30
MOST_DEATHS = 12  # of one module; after that the rest of its tests has not run


class Runner:
    def __init__(self, python: pathlib.Path, build: pathlib.Path, work: pathlib.Path, reuse: bool, until: float) -> None:
        self.python, self.build, self.work, self.reuse, self.until = python, build, work, reuse, until
        self.keys = self._keys()

    def _keys(self) -> dict[str, str]:
        """What a result depends on: in both modes the code that runs the tests and the Python, inside also deploy itself."""
        plain = hashlib.sha256(subprocess.run([self.python, "-VV"], check=True, capture_output=True).stdout)
        plain.update((HERE / "subject.py").read_bytes())
        inside = plain.copy()
        inside.update((self.build / "lib" / "libdeploy.so.0").read_bytes())
        return {"plain": plain.hexdigest(), "thread": plain.hexdigest(), "inside": inside.hexdigest()}

    def result(self, suite: sources.Suite, mode: str, module: str, again: bool = False) -> dict:
        """{"tests": {test: {"outcome", "told"}}, "died": {test: how}, "seconds"}: a kept one, or a new one."""
        file = self.work / suite.name / mode / f"{module}.json"
        key = f"{self.keys[mode]} {suite.version}"
        if file.exists() and not again:
            kept = json.loads(file.read_text())
            if kept["key"] == key or self.reuse:
                return kept
        result = {"key": key, **self._run(suite, mode, module)}
        if not again:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(result))
        return result

    def _run(self, suite: sources.Suite, mode: str, module: str) -> dict:
        tests, died, start = {}, {}, time.monotonic()
        if start > self.until:
            raise TimeoutError
        while True:
            entries, status = self._process(suite, mode, module, [*tests, *died] if died else [])
            begun = None
            for entry in entries:
                if "begin" in entry:
                    begun = entry["begin"]
                elif "end" in entry:
                    tests.setdefault(entry["end"], {"outcome": entry["outcome"], "told": entry["told"]})
                    begun = None
            closed = any("closed" in entry for entry in entries)
            if closed and status != "ended":
                died["the end of the process"] = status
            if closed:
                break
            died[begun or "before any test"] = status
            if begun is None or begun == "import" or len(died) == MOST_DEATHS or time.monotonic() - start > LIMIT_S:
                break
        return {"tests": tests, "died": died, "seconds": time.monotonic() - start}

    def _process(self, suite: sources.Suite, mode: str, module: str, skip: list[str]) -> tuple[list[dict], str]:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="suites-"))
        try:
            (folder / "tmp").mkdir()
            record, task = folder / "record", folder / "task"
            record.touch()
            order = {
                "runner": suite.runner,
                "module": module,
                "record": str(record),
                "skip": skip,
                "paths": suite.paths,
                "extend": suite.extend,
            }
            task.write_text(json.dumps(order))
            environment = {
                "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
                "HOME": str(folder),
                "TMPDIR": str(folder / "tmp"),
                "LANG": "C.UTF-8",
            }
            environment |= {"PYTHONPATH": str(self.build / "python"), "XDG_CACHE_HOME": str(folder / "cache")}
            environment["SETUPTOOLS_USE_DISTUTILS"] = "stdlib"  # plain Python would take setuptools' for it
            logs = self.work / suite.name / "logs"
            logs.mkdir(parents=True, exist_ok=True)
            with (logs / f"{module}.{mode}.log").open("wb") as log:
                process = subprocess.Popen(
                    [str(self.python), str(HERE / "worker.py"), mode, str(task)],
                    env=environment, cwd=folder / "tmp", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
                status = self._wait(process, record)
                self._kill_group(process)
            return [json.loads(line) for line in record.read_text(errors="replace").split("\n") if line.endswith("}")], status
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _wait(process: subprocess.Popen, record: pathlib.Path) -> str:
        """How it ended. A process that writes nothing for long, or takes too much memory, is ended."""
        start = changed = time.monotonic()
        size = 0
        while True:
            try:
                code = process.wait(timeout=0.5)
                return "ended" if code == 0 else f"exit status {code}" if code > 0 else signal.Signals(-code).name
            except subprocess.TimeoutExpired:
                now = time.monotonic()
            if record.stat().st_size != size:
                size, changed = record.stat().st_size, now
            if now - changed > SILENT_S or now - start > LIMIT_S:
                return f"not over in {SILENT_S if now - changed > SILENT_S else LIMIT_S} s"
            pages = pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()
            if len(pages) > 1 and int(pages[1]) * os.sysconf("SC_PAGE_SIZE") > MOST_MEMORY:
                return f"more than {MOST_MEMORY >> 30} GiB of memory"

    @staticmethod
    def _kill_group(process: subprocess.Popen) -> None:
        """What a module leaves running."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def module(self, suite: sources.Suite, module: str) -> tuple[list[compare.Difference], int, dict]:
        """(differences, how many were unsteady, the run inside)."""
        plain, inside = self.result(suite, "plain", module), self.result(suite, "inside", module)
        found = compare.differences(suite.name, module, plain, inside)
        if not found:
            return [], 0, inside
        file = self.work / suite.name / "again" / f"{module}.json"
        key = plain["key"] + inside["key"]
        second = json.loads(file.read_text()) if file.exists() else {"key": ""}
        if second["key"] != key:
            second = {"key": key, **{mode: self.result(suite, mode, module, True) for mode in ("plain", "inside")}}
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(second))
        names = {difference.test for difference in compare.differences(suite.name, module, second["plain"], second["inside"])}
        steady = [difference for difference in found if difference.test in names]
        if steady:
            compare.mark_threads(steady, compare.tests_of(self.result(suite, "thread", module)))
        return steady, len(found) - len(steady), inside


def run_suite(runner: Runner, suite: sources.Suite, pattern: str, jobs: int) -> dict:
    wanted = [module for module in suite.modules if fnmatch.fnmatch(module, pattern)]
    print(f"{suite.name} {suite.version}: {len(wanted)} modules", flush=True)
    found, unsteady, tests = {}, 0, 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        pending = {pool.submit(runner.module, suite, module): module for module in wanted}
        for done in concurrent.futures.as_completed(pending):
            if isinstance(done.exception(), TimeoutError):
                continue
            differing, unstable, inside = done.result()
            found[pending[done]] = differing
            unsteady += unstable
            tests += len(inside["tests"])
            for difference in differing:
                print(f"  {difference.line()[:300]}", flush=True)
    if len(found) < len(wanted):
        print(f"stopped after {len(found)} of {len(wanted)} modules; call again to go on", flush=True)
        wanted = [module for module in wanted if module in found]
    modules = [found[module] for module in wanted]
    return {
        "suite": suite.name,
        "version": suite.version,
        "modules": len(wanted),
        "tests": tests,
        "unsteady": unsteady,
        "all": len(suite.modules),
        "differences": [difference for differing in modules for difference in differing],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", choices=["cpython", "numpy", "torch"], help="default: all three")
    parser.add_argument("pattern", nargs="?", default="*", help="modules whose name matches (test.test_json*)")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--python", type=pathlib.Path, default=ROOT / ".venv" / "bin" / "python")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--minutes", type=float, default=0, help="begin nothing after so long; a later call goes on")
    parser.add_argument("--reuse", action="store_true", help="take results of an earlier build of deploy as they are")
    parser.add_argument("--no-document", action="store_true", help="leave docs/suites.md as it is")
    options = parser.parse_args()
    build, python = options.build.resolve(), options.python.absolute()
    work = build / "suites"
    work.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
    runner = Runner(python, build, work, options.reuse, until)
    known = compare.read_known(HERE / "known.toml")
    makers = {
        "cpython": lambda: sources.cpython(work),
        "numpy": lambda: sources.numpy(work, python, PINS),
        "torch": lambda: sources.torch(work, python, PINS),
    }
    chosen = [options.suite] if options.suite else list(makers)
    reports = [run_suite(runner, makers[name](), options.pattern, options.jobs) for name in chosen]
    for report in reports:
        compare.explain(report["differences"], known)
    document.print_summary(reports)
    (work / "report.json").write_text(json.dumps(document.as_json(reports), indent=1))
    if not options.no_document and len(reports) == len(makers) and options.pattern == "*":
        (ROOT / "docs" / "suites.md").write_text(document.page(reports, known))
    if any(not difference.reason for report in reports for difference in report["differences"]):
        sys.exit("suites: there are differences that are not in tests/suites/known.toml; see above")


if __name__ == "__main__":
    main()
