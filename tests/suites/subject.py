"""Runs the tests of one module, in the Python that executes it, and writes a line for each test: worker.py executes it inside an
interpreter and in plain Python.

The lines are JSON objects: {"begin": test}, {"end": test, "outcome": ..., "told": last words}, and {"closed": true} after the last
test. Outcomes: passed, failed, error, skipped, expected failure, unexpected success.
"""

import importlib
import json
import os
import sys
import unittest

_open = open  # tests put others in its place
_dumps = json.dumps
_getpid = os.getpid


class Record:
    """The file that gets the lines. A forked child of a test writes nothing."""

    def __init__(self, path):
        self._path = path
        self._pid = _getpid()

    def write(self, entry):
        if _getpid() == self._pid:
            with _open(self._path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(_dumps(entry) + "\n")

    def begin(self, test):
        self.write({"begin": test})

    def end(self, test, outcome, told=""):
        self.write({"end": test, "outcome": outcome, "told": told[-600:]})


def _last_words(error):
    kind, value, _ = error
    try:
        return f"{kind.__name__}: {value}"
    except Exception:  # a test's own exception may have no text
        return kind.__name__


class Result(unittest.TestResult):
    """Notes each test at its end. A test is what its worst part was: a subtest, its clean-up."""

    def __init__(self, record):
        super().__init__()
        self._record = record
        self._now = None

    def startTest(self, test):
        self._now = ("passed", "")
        self._record.begin(test.id())

    def stopTest(self, test):
        self._record.end(test.id(), *self._now)
        self._now = None

    def _note(self, test, outcome, told):
        if self._now is None:  # setUpClass, setUpModule
            self._record.end(test.id(), outcome, told)
        elif self._now[0] not in ("error", "failed"):
            self._now = (outcome, told)

    def addError(self, test, err):
        self._note(test, "error", _last_words(err))

    def addFailure(self, test, err):
        self._note(test, "failed", _last_words(err))

    def addSkip(self, test, reason):
        self._note(test, "skipped", str(reason))

    def addExpectedFailure(self, test, err):
        self._note(test, "expected failure", "")

    def addUnexpectedSuccess(self, test):
        self._note(test, "unexpected success", "")

    def addSubTest(self, test, subtest, err):
        if err is not None:
            outcome = "failed" if issubclass(err[0], test.failureException) else "error"
            self._note(test, outcome, f"{subtest._subDescription()} {_last_words(err)}")


def _tests_of(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _tests_of(test)
        else:
            yield test


def _without(suite, skip):
    """The suite without the tests that ended the process before."""
    kept = [
        _without(t, skip) if isinstance(t, unittest.TestSuite) else t
        for t in suite
        if isinstance(t, unittest.TestSuite) or t.id() not in skip
    ]
    return type(suite)(kept)


def run_unittest(name, path, skip, extend):
    """A module of CPython's suite. `extend` are folders of tests of packages of the standard library: {"ctypes": folder}."""
    record = Record(path)
    for package, folder in extend.items():
        importlib.import_module(package).__path__.append(folder)
    from test import support

    support.use_resources = []  # as without `-u`: no network, no hours
    support.verbose = 0
    record.begin("import")
    try:
        module = importlib.import_module(name)
        suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    except unittest.SkipTest as error:
        record.end("import", "skipped", str(error))
        record.write({"closed": True})
        return
    except BaseException:
        record.end("import", "error", _last_words(sys.exc_info()))
        record.write({"closed": True})
        return
    record.end("import", "passed")
    if not any(True for _ in _tests_of(suite)) and hasattr(module, "test_main"):
        suite = unittest.TestSuite([unittest.FunctionTestCase(module.test_main)])
    _without(suite, set(skip)).run(Result(record))
    record.write({"closed": True})


class _Plugin:
    """pytest's outcomes, as a plugin of it."""

    def __init__(self, record, skip):
        self._record = record
        self._skip = set(skip)

    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if item.nodeid not in self._skip]

    def pytest_collectreport(self, report):
        if report.failed:
            self._record.end(f"collect {report.nodeid}", "error", str(report.longrepr))
        elif report.skipped:
            self._record.end(f"collect {report.nodeid}", "skipped", str(report.longrepr))

    def pytest_runtest_logstart(self, nodeid):
        self._outcome = ("passed", "")
        self._record.begin(nodeid)

    def pytest_runtest_logreport(self, report):
        if self._outcome[0] in ("failed", "error"):
            return
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self._outcome = ("failed" if report.when == "call" else "error", crash.message if crash else str(report.longrepr))
        elif report.skipped:
            expected = hasattr(report, "wasxfail")
            told = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self._outcome = ("expected failure" if expected else "skipped", told)

    def pytest_runtest_logfinish(self, nodeid):
        self._record.end(nodeid, *self._outcome)


def run_pytest(name, path, skip, extend):
    """A file of numpy's suite."""
    import pytest

    record = Record(path)
    file = os.path.join(os.path.dirname(importlib.import_module(name.partition(".")[0]).__file__), *name.split(".")[1:]) + ".py"
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", os.getcwd())
    arguments = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow",
        "--rootdir",
        os.path.dirname(file),
        "--import-mode=importlib",
        file,
    ]
    pytest.main(arguments, plugins=[_Plugin(record, skip)])
    record.write({"closed": True})


def run_operators(name, path, skip, extend):
    """One letter's operators of torch's OpInfo database: each is called with the samples that it has for float32 on the CPU, and
    compared with its reference of numpy where it has one."""
    import numpy
    import torch
    from torch.testing._internal.common_methods_invocations import op_db

    record = Record(path)
    for op in op_db:
        test = f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name
        if operator_group(test) != name or test in skip:
            continue
        record.begin(test)
        try:
            record.end(test, *_operator(op, numpy, torch))
        except Exception:
            record.end(test, "error", _last_words(sys.exc_info()))
    record.write({"closed": True})


def operator_group(test):
    return (
        "operators." + test.rpartition(".")[2].lstrip("_")[0].lower() if "." in test else "operators." + test.lstrip("_")[0].lower()
    )


def _operator(op, numpy, torch):
    if not op.supports_dtype(torch.float32, "cpu"):
        return "skipped", "not for float32 on the CPU"
    torch.manual_seed(0)
    reference = getattr(op, "ref", None)
    for sample in op.sample_inputs("cpu", torch.float32, requires_grad=False):
        result = op(sample.input, *sample.args, **sample.kwargs)
        if reference is None or not isinstance(result, torch.Tensor) or not isinstance(sample.input, torch.Tensor):
            continue
        as_numpy = sample.numpy()
        try:
            expected = reference(as_numpy.input, *as_numpy.args, **as_numpy.kwargs)
        except Exception:  # references do not take all samples
            continue
        if isinstance(expected, numpy.ndarray) and expected.shape == tuple(result.shape):
            torch.testing.assert_close(result, torch.from_numpy(expected).to(result.dtype), rtol=1e-3, atol=1e-3, equal_nan=True)
    return "passed", ""
