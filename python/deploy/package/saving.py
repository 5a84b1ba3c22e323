"""save(): from an object to a package."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from deploy._deploy import ErrorCode, sign_package
from deploy._environment import check as check_environment
from deploy._error import Error
from deploy.package import examples, files, grad_modes, main_module, manifest
from deploy.package.draft import Draft
from deploy.package.example_call import Call
from deploy.package.example_call import check as check_example
from deploy.package.given import Given
from deploy.package.names import Names
from deploy.package.patterns import Patterns
from deploy.package.pickles import Pickles
from deploy.package.plan import Plan
from deploy.package.problems import PackagingError, Problem, VerificationError
from deploy.package.zip_writer import ZipWriter

SUPPORT_MODULE = "deploy_package_support"
EXAMPLES_PACKAGE = "deploy_examples"

Progress = Callable[[str], None]


@dataclasses.dataclass
class Summary:
    """What save() wrote.

    own_modules  modules of the user's own code that are inside
    interned     {distribution: version} that are inside whole
    externs      {distribution or module: version, or None} that the environment has to have; the standard library is not told
    notes        what may be of interest
    verified     whether it was verified: an example was repeated, and all of its result compared. What was not compared is a note
    """

    path: str
    size: int
    seconds: float
    own_modules: list[str]
    interned: dict[str, str]
    externs: dict[str, str | None]
    notes: list[str]
    verified: bool = False


def save(
    path: str | os.PathLike[str],
    obj: Any,
    *,
    example_args: Sequence[Any] | None = None,
    example_kwargs: Mapping[str, Any] | None = None,
    method: str = "__call__",
    intern: Iterable[str] = (),
    extern: Iterable[str] = (),
    intern_python: Iterable[str] = (),
    package: str = "model",
    resource: str = "model.pkl",
    sign: str | os.PathLike[str] | None = None,
    verify: bool = True,
    tolerance: float | None = None,
    grad_mode: str | None = None,
    environment: Any = None,
    progress: Progress | None = None,
) -> Summary:
    """Writes `obj` with its code and data into one file, and makes sure that the file works elsewhere.

    example_args, example_kwargs, method   a call of it: recorded with its result, and repeated by verify
    intern, extern   distributions or modules, or patterns of them ("transformers", "my_lib.**", "*"), that go into the package, or
    come from
                     the environment. Without a word: the standard library and installed distributions are extern, own code and
                     editable installations are interned
    intern_python    as `intern`, for distributions with extension modules: these stay out, and the Python code goes in. For models
                     that are pure Python beside such modules (torchvision's); the example shows whether that is so
    package, resource   where load_pickle() finds it
    sign        a file with an Ed25519 private key (PEM)
    verify      load the file in a fresh process without the own code and the interned distributions, repeat the example, compare
    tolerance   how far results may be from the recorded ones, relative and absolute; None: not a bit
    grad_mode   in which of torch's modes calls run, here and where the package is loaded: "no_grad", "inference_mode" or
                "enable_grad". None: "no_grad", or "enable_grad" where the example turns out to need gradients
    environment   that of verify (deploy.Environment); None: that of the running Python
    progress    called with a line of text now and then

    Raises PackagingError with all that is in the way, and VerificationError; then there is no file, and one that was there is as
    it was.
    """
    start = time.monotonic()
    tell = progress or (lambda text: None)
    path = os.fspath(path)
    files.check_output(path)
    if environment is not None:
        check_environment(environment)
    if grad_mode not in (None, *grad_modes.MODES):
        expected = " or ".join(map(repr, grad_modes.MODES))
        raise Error(ErrorCode.INVALID_ARGUMENT, f"grad_mode: found {grad_mode!r:.200}, expected {expected}, or None")
    if sign is not None:
        files.check_key(os.fspath(sign))
    check_example(obj, method, example_args, example_kwargs, tolerance)
    intern, extern = _as_patterns("intern", intern), _as_patterns("extern", extern)
    intern_python = _as_patterns("intern_python", intern_python)
    has_example = example_args is not None or example_kwargs is not None
    names = Names({"__main__": main_module.packaged_name(), "deploy.package.support": SUPPORT_MODULE})
    pickles = Pickles(names, Given() if has_example else None)
    with Draft(path, tell) as draft:
        tell("pickling")
        problems = pickles.add(f"{package.replace('.', '/')}/{resource}", package, obj)
        notes: list[str] = []
        entries = []
        if has_example:
            call = Call(obj, method, tuple(example_args or ()), dict(example_kwargs or {}), grad_mode)
            entry, more = _record_example(pickles, draft, call, tell, notes, attempt=not problems)
            grad_mode = call.grad_mode
            problems += more
            entries.append({**entry, "tolerance": tolerance, "seed": examples.SEED, "threads": examples.threads()})

        tell("deciding what goes in")
        imports = None if pickles.imports is None else {(names.packaged(module), name) for module, name in pickles.imports}
        plan = Plan([*intern, *intern_python], extern, package, imports)
        plan.python_part = Patterns(intern_python, ())
        _fill(plan, pickles, names)
        problems += plan.problems
        if problems:
            raise PackagingError(path, problems)

        described = {
            "package": package,
            "resource": resource,
            "type": names.of_type(obj),
            "signature": examples.signature(obj, method),
            "method": method,
            "grad_mode": grad_mode or grad_modes.DEFAULT if "torch" in sys.modules else None,
        }
        with draft.writing() as writer:
            _write_records(writer, plan, pickles, draft.count)
            writer.write(manifest.RECORD, manifest.build(plan, writer, [described], entries))
        file = draft.close()
        summary = _summary(path, plan, notes, file.stat().st_size, start)
        if sign is not None:
            sign_package(file, sign)
        if verify:
            from deploy.package.verification import verify as run_verification

            tell("verifying")
            try:
                found = run_verification(file, environment=environment, extra_paths=plan.extra_paths(), shown_as=path)
            except VerificationError as error:
                raise VerificationError(path, [*error.failures, *_without_extensions(plan)]) from None
            summary.verified = found.complete
            summary.notes += found.notes
        draft.put_in_place()
    summary.seconds = time.monotonic() - start
    tell("done")
    return summary


def _without_extensions(plan: Plan) -> list[str]:
    """What may be the reason of a failed verification."""
    names = [distribution.name for distribution, _ in plan.interned.values() if distribution.python_part]
    return [f"note that {', '.join(names)} went in without extension modules (intern_python)"] if names else []


def _as_patterns(name: str, patterns: Iterable[str]) -> list[str]:
    if isinstance(patterns, str):
        raise TypeError(f"{name} is a list of patterns, not one: {name}=[{patterns!r}]")
    return list(patterns)


def _record_example(
    pickles: Pickles, draft: Draft, call: Call, tell: Progress, notes: list[str], attempt: bool
) -> tuple[dict[str, Any], list[Problem]]:
    """Pickles the inputs, runs the example with copies of them, then pickles the result. The object is put back as it was: what the
    package has of it is what was given, and so is what the caller has."""
    inputs, outputs = f"{EXAMPLES_PACKAGE}/0.inputs.pkl", f"{EXAMPLES_PACKAGE}/0.outputs.pkl"
    problems = pickles.add(inputs, "example", (call.args, call.kwargs))
    entry: dict[str, Any] = {"callable": 0, "inputs": inputs.split("/"), "outputs": None}
    if problems or not attempt:
        return entry, problems
    pickles.write_storages(draft)
    tell("running the example")
    with pickles.put_back(draft, notes):
        with examples.random_numbers_kept(), examples.observed_imports() as pickles.imports:
            copies = functools.partial(pickles.copy_of, inputs, (call.args, call.kwargs))
            result = call.run(copies, functools.partial(pickles.start_over, draft), notes)
        pickles.look_at_changes(draft)
        refused = pickles.add(outputs, "result", result, gaps=True)
        if outputs in pickles.records:
            entry["outputs"] = outputs.split("/")
            notes += [f"this part of the example's result is not recorded: {problem}" for problem in refused]
        else:
            notes.append(f"the result of the example is not recorded, so verify only runs it: {refused[0]}")
        pickles.write_storages(draft)
    return entry, []


def _fill(plan: Plan, pickles: Pickles, names: Names) -> None:
    for module in pickles.references:
        if module == names.packaged("__main__") and "__main__" in names.used:
            continue
        if module == SUPPORT_MODULE:
            support = pathlib.Path(__file__).with_name("support.py")
            plan.add_source(SUPPORT_MODULE, support.read_bytes())
        elif module in names.unlisted:
            unlisted = names.unlisted[module]
            file = pathlib.Path(unlisted.file)
            plan.add_source(module, file.read_bytes(), unlisted.namespace, str(file.parent))
        else:
            plan.add_reference(module)
    if "__main__" in names.used:
        _add_main(plan, names)
    if pickles.tensors is not None:
        for name, source in pickles.tensors.sources.items():
            plan.add_source(name, source.encode())
    plan.finish()


def _add_main(plan: Plan, names: Names) -> None:
    text = main_module.source()
    if text is None:
        used = ", ".join(sorted(names.used["__main__"]))
        why = f"defines {used}, and has no file that could go into the package"
        plan.problems.append(Problem("__main__", why, "put them into a module, or into a script that is run as a file"))
        return
    main = sys.modules["__main__"]
    source = main_module.slice_of(text, names.used["__main__"]).encode()
    plan.add_source(names.packaged("__main__"), source, vars(main), main_module.folder())


def _write_records(writer: ZipWriter, plan: Plan, pickles: Pickles, count: Callable[[int], None]) -> None:
    if pickles.tensors is not None:
        pickles.tensors.write(writer, count)
    for record, data in pickles.records.items():
        writer.write(record, data)
    for name in sorted(plan.own):
        writer.write(plan.record_of(plan.own[name]), plan.own[name].source)
    for record, file in sorted(plan.data.items()):
        if record not in writer.digests:
            writer.write(record, file.read_bytes())
    for distribution, _ in plan.interned.values():
        for record, file in distribution.files:
            if record not in writer.digests:  # two distributions may have a file in common
                data = file.read_bytes()
                writer.write(record, data)
                count(len(data))
    writer.write(".data/extern_modules", ("\n".join(sorted(plan.externs)) + "\n").encode())
    writer.write(".data/python_version", platform.python_version().encode())
    writer.write(".data/version", b"6\n")
    writer.write("byteorder", sys.byteorder.encode())


def _summary(path: str, plan: Plan, notes: list[str], size: int, start: float) -> Summary:
    externs = {}
    for extern in plan.externs.values():
        if not extern.stdlib:
            distribution = extern.distribution
            externs[distribution.name if distribution else extern.module] = distribution.version if distribution else None
    interned = {distribution.name: distribution.version for distribution, _ in plan.interned.values()}
    return Summary(path, size, time.monotonic() - start, sorted(plan.own), interned, externs, [*notes, *plan.notes])
