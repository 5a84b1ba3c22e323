"""verify(): whether a package works where only the package is.

A fresh process (so that nothing of this one helps: no loaded module, no working directory, no source tree) opens the package in
fresh interpreters, whose environment lacks the distributions that the package has inside, repeats the recorded example calls, in
all interpreters at once, and compares the results with the recorded ones.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import deploy
from deploy._environment import to_plain
from deploy.package import shadow
from deploy.package.described import described
from deploy.package.problems import VerificationError
from deploy.package.relay import relayed


@dataclasses.dataclass
class Verification:
    """examples   how many calls were repeated (in each interpreter)
    compared      how many of them had a recorded result that was compared, all of it
    exact         whether all that was compared was bit-equal; otherwise `largest` is the largest difference, which the tolerance
                  allows
    notes         what was not compared, and why: one text for each part
    """

    examples: int
    compared: int
    exact: bool
    largest: float
    seconds: float
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether there was an example, and the results of all of them were compared."""
        return 0 < self.examples == self.compared and not self.notes


def verify(
    path: str | os.PathLike[str],
    *,
    environment: deploy.Environment | None = None,
    interpreters: int = 1,
    extra_paths: Sequence[str] = (),
    shown_as: str | None = None,
) -> Verification:
    """Raises VerificationError with all that differs or fails, deploy.Error where the file is no package.

    environment   what the interpreters see, apart from the interned distributions; None: that of the running Python. All its fields
                  count; on_output gets its lines on a thread of this process
    interpreters  how many run the examples at once
    shown_as      the package's name in errors
    """
    start = time.monotonic()
    shown = shown_as or os.fspath(path)
    manifest = deploy.read_manifest(path)
    if manifest is None:
        raise VerificationError(shown, ["it has no manifest, so there are no examples to repeat (plain torch.package?)"])
    found = described(manifest, shown)
    environment = environment if environment is not None else deploy.Environment.from_running_python()
    plain = to_plain(environment)
    with tempfile.TemporaryDirectory(prefix="deploy-verify-") as scratch:
        folder = pathlib.Path(scratch)
        interned = [entry.get("distribution") or "" for entry in manifest.get("interned") or ()]
        request = {
            "package": os.path.abspath(path),
            "interpreters": interpreters,
            "environment": {
                **plain,
                "site_packages": shadow.without(plain["site_packages"], interned, folder),
                "extra_paths": [*plain["extra_paths"], *extra_paths],
            },
            "callables": found.callables,
            "examples": found.examples,
        }
        with relayed(environment.on_output) as descriptor:
            reports = _run({**request, "output": descriptor}, folder, shown)
    failures = [text for report in reports for text in report["failures"]]
    if failures:
        raise VerificationError(shown, list(dict.fromkeys(failures)))
    largest = max((report["largest"] for report in reports), default=0.0)
    notes = list(dict.fromkeys(text for report in reports for text in report["notes"]))
    partly = {report["example"] for report in reports if report["notes"]}
    if not found.examples:
        notes.append("not compared: there is no example, so the package was only loaded")
    compared = len(found.examples) - len(partly)
    return Verification(len(found.examples), compared, largest == 0, largest, time.monotonic() - start, notes)


def _run(request: dict[str, Any], folder: pathlib.Path, shown: str) -> list[dict[str, Any]]:
    question, answer = folder / "request.json", folder / "reports.json"
    question.write_text(json.dumps(request))
    work = folder / "work"
    work.mkdir()
    home = pathlib.Path(deploy.__file__).parent.parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-P", "-s", "-m", "deploy.package.verification_worker", str(question), str(answer)]
    said = folder / "stderr"
    # Files, not pipes: a child that the example leaves behind would hold a pipe open.
    with said.open("wb") as stderr:
        process = subprocess.run(
            command,
            env={**environment, "PYTHONPATH": str(home)},
            cwd=work,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=[request["output"]] if request["output"] is not None else [],
        )
    if process.returncode == 0 and answer.exists():
        return json.loads(answer.read_text())
    ended = f"exit status {process.returncode}" if process.returncode >= 0 else signal.Signals(-process.returncode).name
    text = said.read_text(errors="replace")[-4000:].strip()
    raise VerificationError(shown, [f"its process ended ({ended}): {text or 'it said nothing'}"])
