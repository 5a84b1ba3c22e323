"""The fresh process of verify: `python -m deploy.package.verification_worker request.json reports.json`."""

from __future__ import annotations

import concurrent.futures
import json
import pathlib
import sys
from typing import Any

import deploy
from deploy._environment import from_plain
from deploy.package.relay import sender

CHECK = "deploy_package_check"
GRAD_MODES = "deploy_package_grad_modes"
MODULES = {  # what runs inside, by the names that it has there
    "deploy_package_object_parts": "object_parts.py",
    "deploy_package_comparison": "comparison.py",
    "deploy_package_comparison_arrays": "comparison_arrays.py",
    "deploy_package_comparison_tables": "comparison_tables.py",
    CHECK: "guest_check.py",
    GRAD_MODES: "grad_modes.py",
}


def register_check(manager: deploy.InterpreterManager) -> None:
    """Makes module CHECK importable in the manager's interpreters."""
    for name, file in MODULES.items():
        manager.register_module(name, pathlib.Path(__file__).with_name(file).read_text())


def failure(example: int, error: deploy.Error) -> str:
    text = f"example {example}: {error.message}" if example >= 0 else error.message
    return f"{text}\n{error.traceback}" if error.traceback else text


def main(question: str, answer: str) -> None:
    request = json.loads(pathlib.Path(question).read_text())
    reports: list[dict[str, Any]] = []
    try:
        environment = from_plain(request["environment"], sender(request["output"]))
        with deploy.InterpreterManager(interpreters=request["interpreters"], environment=environment) as manager:
            for interpreter in manager.interpreters:
                # An editable installation of the code that is packed would stand in for what the package lacks.
                with interpreter.acquire_session() as session:
                    session.global_("_deploy.site_folders", "forget")()
            register_check(manager)
            package = manager.load_package(request["package"])
            for described in request["callables"]:
                described["grad_mode"] = environment.grad_mode or described["grad_mode"]
                package.load_pickle(described["package"], described["resource"]).preload()
            for number, example in enumerate(request["examples"]):
                reports += run_example(manager, package, request["callables"][example["callable"]], number, example)
    except deploy.Error as error:
        reports.append({"failures": [failure(-1, error)], "largest": 0.0, "notes": []})
    pathlib.Path(answer).write_text(json.dumps(reports))


def run_example(manager: Any, package: Any, described: Any, number: int, example: Any) -> list[dict[str, Any]]:
    """One report for each interpreter; they run at once."""
    model = package.load_pickle(described["package"], described["resource"])
    inputs = package.load_pickle(*example["inputs"])
    outputs = package.load_pickle(*example["outputs"]) if example["outputs"] else None
    seed, tolerance, threads = example["seed"], example["tolerance"], example["threads"]

    def run(interpreter: Any) -> dict[str, Any]:
        try:
            with interpreter.acquire_session() as session:
                objects = [session.from_replicated(each) for each in (model, inputs, outputs or inputs)]
                check = session.global_(CHECK, "check")
                within = session.global_(GRAD_MODES, "within")
                rest = described["method"], seed, tolerance, outputs is not None, threads
                found = within(described["grad_mode"], check, *objects, *rest).to_value()
        except deploy.Error as error:
            return {"example": number, "failures": [failure(number, error)], "largest": 0.0, "notes": []}
        largest = found["largest"]
        failures = [f"example {number}: {text}" for text in found["differences"]]
        if failures and largest and tolerance is None:
            failures.append(f"the largest difference is {largest:.3g}: give a `tolerance` where that is to be expected")
        notes = [f"example {number}: {text}" for text in found["notes"]]
        return {"example": number, "failures": failures, "largest": largest, "notes": notes, "modules": found["modules"]}

    with concurrent.futures.ThreadPoolExecutor(len(manager)) as pool:
        return list(pool.map(run, manager.interpreters))


if __name__ == "__main__":
    main(*sys.argv[1:])
