"""What differs between the runs of a module in plain Python and in an interpreter, and which of it is known (known.toml)."""

from __future__ import annotations

import dataclasses
import fnmatch
import pathlib
import tomllib


@dataclasses.dataclass
class Difference:
    suite: str
    module: str
    test: str
    plain: str
    inside: str
    told: str  # of the run inside
    reason: str = ""
    kind: str = ""

    def line(self) -> str:
        return f"{self.module}: {self.test}: {self.plain} in plain Python, {self.inside} inside ({self.told})"


def tests_of(result: dict) -> dict[str, tuple[str, str]]:
    """test -> (outcome, last words)."""
    tests = {test: (entry["outcome"], entry["told"]) for test, entry in result["tests"].items()}
    for test, how in result["died"].items():
        tests[test] = ("died", how)
    return tests


def differences(suite: str, module: str, plain: dict, inside: dict) -> list[Difference]:
    expected, found = tests_of(plain), tests_of(inside)
    names = sorted(expected.keys() | found.keys())
    absent = ("not run", "")
    rows = [(name, expected.get(name, absent), found.get(name, absent)) for name in names]
    bad = ("failed", "error")  # which of the two it is is a matter of how a test is written
    return [
        Difference(suite, module, name, before[0], after[0], after[1].strip().splitlines()[-1] if after[1].strip() else "")
        for name, before, after in rows
        if before[0] != after[0] and not (before[0] in bad and after[0] in bad)
    ]


@dataclasses.dataclass
class Known:
    """An entry of known.toml: all differences whose suite, module and test match."""

    suite: str
    kind: str
    reason: str
    tests: list[str]  # patterns of "module: test"
    used: int = 0

    def matches(self, difference: Difference) -> bool:
        name = f"{difference.module}: {difference.test}"
        return difference.suite == self.suite and any(fnmatch.fnmatchcase(name, pattern) for pattern in self.tests)


def read_known(path: pathlib.Path) -> list[Known]:
    entries = tomllib.loads(path.read_text())["known"]
    return [Known(entry["suite"], entry["kind"], entry["reason"], entry["tests"]) for entry in entries]


BAD = ("failed", "error", "died")
THREAD = "second thread"


def mark_threads(found: list[Difference], in_thread: dict[str, tuple[str, str]]) -> None:
    """Explains what fails in plain Python, too, where the tests run on another thread than the main one."""
    for difference in found:
        outcome = in_thread.get(difference.test, ("not run", ""))[0]
        if outcome == difference.inside or (outcome in BAD and difference.inside in BAD):
            difference.kind = THREAD
            difference.reason = (
                "calls come from threads of the host: it is the same in plain Python on a second thread (signals, event loops)"
            )


def explain(found: list[Difference], known: list[Known]) -> None:
    """Gives each difference the reason of the first entry that it matches."""
    for difference in found:
        for entry in () if difference.reason else known:
            if entry.matches(difference):
                difference.reason, difference.kind = entry.reason, entry.kind
                entry.used += 1
                break
