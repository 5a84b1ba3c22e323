"""What is done to a library or package, the same in plain Python and in an interpreter. Nothing of this project is used here."""

import ctypes
import importlib
import os
import traceback

import environment_uses

_kept = []


def _why(error):
    lines = "".join(traceback.format_exception_only(error)).strip().splitlines()
    return next((line for line in reversed(lines) if line.strip()), type(error).__name__)


def open_library(path):
    """dlopen by path, with all symbols bound at once."""
    try:
        _kept.append(ctypes.CDLL(path, mode=os.RTLD_NOW))
    except OSError as error:
        return {"ok": False, "why": str(error)}
    return {"ok": True}


def import_module(name):
    try:
        importlib.import_module(name)
    except BaseException as error:
        return {"ok": False, "why": _why(error)}
    return {"ok": True}


def use(package):
    try:
        return {"ok": True, "result": repr(getattr(environment_uses, "use_" + package)())}
    except BaseException as error:
        return {"ok": False, "why": _why(error), "trace": traceback.format_exc()}
