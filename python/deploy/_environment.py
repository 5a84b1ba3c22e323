"""What the interpreters of one manager see of the machine."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from deploy._deploy import ErrorCode, _venv_site_packages, python_version
from deploy._error import Error


@dataclass(frozen=True)
class ValueLimits:
    """How much may cross to or from an interpreter in one call: all arguments together, or one result. Containers can share their
    parts, and what crosses is a copy that cannot: 23 lists of which each holds the next one twice are 16 million objects. No honest
    model meets the defaults. More than that raises Error with code NOT_A_VALUE, which names the limit; the next call works.

    depth  how many containers may be inside each other
    items  how many items all containers hold together; of a dict, keys and values count
    bytes  how many bytes the copy takes on the host: those of str and bytes, and some forty for each item; the memory of tensors is
           shared and does not count. 0: as many as Environment.memory_limit, or 4 GiB where there is no limit
    """

    depth: int = 1000
    items: int = 10_000_000
    bytes: int = 0


_PATHS = {"paths": True}  # of a field: relative ones are below the current folder


@dataclass
class Environment:
    """Third-party packages and settings for interpreters. A plain value; the folders are checked when interpreters are created
    (Error with code ENVIRONMENT: a missing folder, or packages of another Python version).

    site_packages      folders of installed packages, in sys.path order; the standard library never comes from here. Their .pth
                       files are read: folders that they name, and editable installations
    extra_paths        put in front of site_packages on sys.path, for plain source folders; not checked for a Python version
    private_libraries  file-name patterns (* and ?) of libraries that are private to an interpreter without showing it, beside those
                       in the folders above
    shared_libraries   patterns of libraries in the folders above that all interpreters and the host have in common, beside
                       OpenBLAS, MKL, and the run-time libraries of OpenMP and Fortran: what such a C library keeps of one
                       interpreter, others see. One that uses Python or libtorch stays private
    preload            modules imported in every interpreter before it takes its first call, in order ("torch")
    deferred_imports   imports the parts of PyTorch that inference seldom uses when they are first used, instead of with torch: half
                       the time and three quarters of the memory; whoever uses one first waits for its import
    on_output          function of (interpreter's id, "stdout" or "stderr", line) that gets what Python code in the interpreters
                       prints, on the thread that prints; None: the process's own streams. It must not use the interpreter that
                       prints (Error with code WRONG_SESSION); what it raises goes to sys.unraisablehook
    cache_dir          where the code of packages is unpacked; None: $XDG_CACHE_HOME/deploy, or ~/.cache/deploy. Only this user may
                       be able to write in it (Error with code ENVIRONMENT)
    allowed_externs    patterns (* and ?) of modules that packages may take from here, each for what lies below it too; None: all.
                       The standard library is allowed, apart from what "!" takes out: ["numpy", "!subprocess"]. A guard rail, not
                       a sandbox
    value_limits       how much may cross in one call, a ValueLimits
    grad_mode          "no_grad", "inference_mode" or "enable_grad", the functions of torch: for calls of replicated objects, and of
                       Objects that a session got from one. None: what the package was written with, "no_grad" unless save() was
                       told otherwise. What a session gets by name is plain Python, in which gradients are recorded
    memory_limit       how many bytes an interpreter's heap may hold (Interpreter.memory().heap; a bare Python needs 4 MB, torch
                       130 MB); 0: no limit. Beyond it Python code there gets a MemoryError, torch its own RuntimeError, and
                       the interpreter goes on
    """

    site_packages: Sequence[str | os.PathLike[str]] = field(default_factory=list, metadata=_PATHS)
    extra_paths: Sequence[str | os.PathLike[str]] = field(default_factory=list, metadata=_PATHS)
    private_libraries: Sequence[str] = field(default_factory=list)
    shared_libraries: Sequence[str] = field(default_factory=list)
    preload: Sequence[str] = field(default_factory=list)
    deferred_imports: bool = False
    on_output: Callable[[int, str, str], object] | None = None
    cache_dir: str | os.PathLike[str] | None = field(default=None, metadata=_PATHS)
    allowed_externs: Sequence[str] | None = None
    memory_limit: int = 0
    value_limits: ValueLimits = ValueLimits()
    grad_mode: str | None = None

    @staticmethod
    def from_venv(path: str | os.PathLike[str]) -> Environment:
        """The packages of a virtual environment; Error with code ENVIRONMENT, with what was found, where there are none."""
        return Environment(site_packages=_venv_site_packages(path))

    @staticmethod
    def from_running_python() -> Environment:
        """The packages of the Python that runs this code; what their .pth files add is added inside. Error with code ENVIRONMENT
        where its version is not that of the interpreters (python_version())."""
        running = f"{sys.version_info.major}.{sys.version_info.minor}"
        if running != python_version():
            needed = python_version()
            raise Error(
                ErrorCode.ENVIRONMENT,
                f"the running Python, {sys.executable}, is {running}; its packages are of no use to the interpreters, which are "
                f"Python {needed}: give an environment, deploy.Environment.from_venv(folder of a Python {needed} environment)",
            )
        folders = [*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        if site.ENABLE_USER_SITE:
            folders.insert(0, site.getusersitepackages())
        return Environment(site_packages=[folder for folder in dict.fromkeys(folders) if os.path.isdir(folder)])

    @staticmethod
    def bare() -> Environment:
        """The standard library only."""
        return Environment()


def check(environment: object) -> None:
    """Error INVALID_ARGUMENT for what is no Environment."""
    if not isinstance(environment, Environment):
        what = f"environment: found {environment!r:.200}, expected a deploy.Environment or None"
        raise Error(ErrorCode.INVALID_ARGUMENT, what)


def to_plain(environment: Environment) -> dict[str, Any]:
    """All fields in a form that JSON has, for another process, whose current folder may be another. Of a function it says only that
    there is one."""
    check(environment)
    return {each.name: _plain(getattr(environment, each.name), each.name, "paths" in each.metadata) for each in fields(environment)}


def from_plain(plain: dict[str, Any], on_output: Callable[[int, str, str], object] | None) -> Environment:
    """The environment that to_plain() was given, with `on_output` in the place of its own function, where it had one."""
    values = dict(plain)
    values["value_limits"] = ValueLimits(**values["value_limits"])
    values["on_output"] = on_output if values["on_output"] else None
    return Environment(**values)


def _plain(value: Any, name: str, is_path: bool) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, (str, bytes, os.PathLike)):
        text = os.fsdecode(value)
        return os.path.abspath(text) if is_path else text
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name), f"{name}.{each.name}", False) for each in fields(value)}
    if callable(value):
        return True
    if isinstance(value, Iterable):
        return [_plain(item, name, is_path) for item in value]
    raise Error(ErrorCode.INVALID_ARGUMENT, f"{name}: found {value!r:.200}, which no field of a deploy.Environment takes")
