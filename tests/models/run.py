"""Packs real models of many libraries, both with the libraries extern and with them inside, and writes docs/models.md.

    run.py [--build build] [--only PATTERN,...] [--no-document]

It makes the environment (third_party/models-requirements.txt) where it is not there yet. Each model is packed in a process of its
own, verified in another, where the libraries that are inside are hidden, in two interpreters at once, and opened by plain
torch.package's importer.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import pathlib
import subprocess
import sys
import time

import document

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from pinned_environment import make_environment  # noqa: E402

ROOT = HERE.parent.parent
PINS = ROOT / "third_party" / "models-requirements.txt"
LIMIT_S = 600


class Runner:
    def __init__(self, python: pathlib.Path, build: pathlib.Path) -> None:
        self.python = python
        self.work = build / "models"
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.work / "home"),
            "PYTHONPATH": str(build / "python"),
            "HF_HUB_OFFLINE": "1",
        }
        (self.work / "home").mkdir(parents=True, exist_ok=True)

    def run(self, *arguments: str) -> tuple[bool, str]:
        """(whether it succeeded, its last words)."""
        try:
            done = subprocess.run(
                [str(self.python), *arguments],
                env=self.environment,
                cwd=self.work,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            return False, f"was not over in {LIMIT_S} s"
        output = done.stdout.strip() if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}")
        return done.returncode == 0, output

    def entries(self) -> list[dict]:
        """The models of the zoo; only the environment's python can read it."""
        done, told = self.run(str(HERE / "pack_one.py"))
        if not done:
            sys.exit(told)
        return json.loads(told)

    def model(self, name: str, form: str) -> dict:
        """One model in one form."""
        path = self.work / f"{name}-{form}.pt"
        path.unlink(missing_ok=True)
        packed, told = self.run(str(HERE / "pack_one.py"), name, form, str(path))
        if not packed:
            return {"packed": False, "error": told}
        result = {"packed": True, **json.loads(told.splitlines()[-1])}
        start = time.monotonic()
        result["verified"], told = self.run("-m", "deploy", "verify", str(path), "--interpreters", "2", "--venv", str(self.venv()))
        result["verify_seconds"] = time.monotonic() - start
        result["exact"] = "bit-equal" in told
        if not result["verified"]:
            result["error"] = told
        result["plain"], told = self.run(str(HERE / "open_plain.py"), str(path))
        if not result["plain"]:
            result["plain_error"] = told
        path.unlink()
        return result

    def venv(self) -> pathlib.Path:
        return self.python.parent.parent


def previous(kept: pathlib.Path) -> dict[tuple[str, str], dict]:
    """The results of the last runs: {(name, form): result}."""
    return {(name, form): result for name, form, result in json.loads(kept.read_text())} if kept.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--base-python", default="/usr/bin/python3.11")
    parser.add_argument(
        "--only", default="*", help="models whose names match, such as 'timm*,bert'; the others keep their last results"
    )
    parser.add_argument("--no-document", action="store_true", help="print what fails, and leave docs/models.md as it is")
    options = parser.parse_args()
    build = options.build.resolve()
    python = make_environment(build / "models" / "venv", PINS, options.base_python)
    runner = Runner(python, build)
    entries = runner.entries()
    kept = build / "models" / "results.json"
    results = previous(kept) if options.only != "*" else {}
    for entry in entries:
        name = entry["name"]
        if not any(fnmatch.fnmatch(name, pattern) for pattern in options.only.split(",")):
            continue
        for form in ("extern", "interned"):
            if form == "interned" and not entry["libraries"]:
                results[name, form] = {"impossible": entry["reason"]}
                continue
            results[name, form] = runner.model(name, form)
            print(f"{name:>22} {form:<9} {document.one_line(results[name, form])}", flush=True)
            kept.write_text(json.dumps([[*key, result] for key, result in results.items()], indent=1))
    done = [entry for entry in entries if (entry["name"], "interned") in results]
    table = document.Table(
        done, {key: results[key] for entry in done for key in ((entry["name"], "extern"), (entry["name"], "interned"))}
    )
    if not options.no_document:
        (ROOT / "docs" / "models.md").write_text(table.text())
    print(table.summary())
    sys.exit(1 if table.failures() else 0)


if __name__ == "__main__":
    main()
