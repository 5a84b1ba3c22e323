"""The suites: where their tests come from, and which modules they have. Nothing of them is in the repository."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
TESTSUITE = f"libpython{VERSION}-testsuite"
# Windows of a display, which nobody looks at.
GRAPHICAL = ("idlelib", "tkinter")


@dataclasses.dataclass
class Suite:
    name: str
    runner: str  # a function of subject.py
    modules: list[str]
    version: str
    paths: list[str] = dataclasses.field(default_factory=list)
    extend: dict[str, str] = dataclasses.field(default_factory=dict)


def _quietly(command: list[str], cwd: pathlib.Path) -> str:
    done = subprocess.run(command, check=False, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"suites: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _revision(package: str) -> str:
    shown = subprocess.run(["dpkg-query", "-W", "-f=${Version}", package], check=False, capture_output=True, text=True)
    return shown.stdout if shown.returncode == 0 else ""


def fetch_cpython(folder: pathlib.Path) -> tuple[pathlib.Path, str]:
    """(folder with CPython's `test` and the tests of single packages, revision): the distribution's package, unpacked and not
    installed. That of the installed Python's own revision, where the mirror has it, or else the newest."""
    tree, stamp = folder / "usr" / "lib" / f"python{VERSION}", folder / "revision"
    if stamp.exists():
        return tree, stamp.read_text()
    if shutil.which("apt-get") is None:
        sys.exit(f"suites: CPython's tests come from the package {TESTSUITE}, and there is no apt-get to fetch it with")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    own = _revision(f"libpython{VERSION}-stdlib")
    wanted = [f"{TESTSUITE}={own}"] if own and f" {own} " in _quietly(["apt-cache", "madison", TESTSUITE], folder) else [TESTSUITE]
    print(f"fetching {wanted[0]}", flush=True)
    _quietly(["apt-get", "download", "-q", *wanted], folder)
    (package,) = folder.glob("*.deb")
    _quietly(["dpkg-deb", "-x", package.name, "."], folder)
    revision = _quietly(["dpkg-deb", "-f", package.name, "Version"], folder).strip()
    # The rest of the package `test` (support, regrtest) is part of the installed Python.
    installed = pathlib.Path(os.__file__).parent / "test"
    for file in installed.rglob("*.py"):
        target = tree / "test" / file.relative_to(installed)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    stamp.write_text(revision)
    return tree, revision


def cpython(work: pathlib.Path) -> Suite:
    tree, revision = fetch_cpython(work / "cpython-tests")
    modules, extend = [], {}
    for file in sorted(tree.rglob("test_*.py")):
        parts = file.relative_to(tree).with_suffix("").parts
        if (
            parts[0] in GRAPHICAL
            or "data" in parts
            or not all((tree.joinpath(*parts[:n]) / "__init__.py").is_file() for n in range(2, len(parts)))
        ):
            continue
        modules.append(".".join(parts))
        if parts[0] != "test":
            extend[parts[0]] = str(tree / parts[0])
    top = tree.parent / "top"  # a folder with `test` alone: what else is in the tree has no __init__.py
    top.mkdir(exist_ok=True)
    if not (top / "test").exists():
        (top / "test").symlink_to(tree / "test")
    # Modules in C that only tests use: the image has none of them.
    for file in pathlib.Path(sysconfig.get_config_var("DESTSHARED")).glob("*.so"):
        if file.name.startswith(("_test", "_ctypes_test", "_xxtestfuzz", "xxlimited")) and not (top / file.name).exists():
            (top / file.name).symlink_to(file)
    return Suite("cpython", "run_unittest", modules, revision, [str(top)], extend)


def _site_packages(python: pathlib.Path) -> pathlib.Path:
    return next((python.parent.parent / "lib").glob("python3*/site-packages"))


def _helpers(work: pathlib.Path, python: pathlib.Path, pins: pathlib.Path) -> str:
    """What the suites of numpy and torch import beside what the environment has, in a folder of its own."""
    folder, stamp = work / "packages", work / "packages" / ".pins"
    want = hashlib.sha256(pins.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != want:
        print(f"installing {pins.name} into {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target", str(folder)]
        _quietly([*command, "-r", str(pins)], work)
        stamp.write_text(want)
    return str(folder)


def _distribution_version(site: pathlib.Path, name: str) -> str:
    (folder,) = site.glob(f"{name}-*.dist-info")
    return folder.name.removeprefix(f"{name}-").removesuffix(".dist-info")


def numpy(work: pathlib.Path, python: pathlib.Path, pins: pathlib.Path) -> Suite:
    site = _site_packages(python)
    files = sorted((site / "numpy").rglob("tests/test_*.py"))
    modules = [".".join(file.relative_to(site).with_suffix("").parts) for file in files]
    return Suite("numpy", "run_pytest", modules, _distribution_version(site, "numpy"), [_helpers(work, python, pins)])


def torch(work: pathlib.Path, python: pathlib.Path, pins: pathlib.Path) -> Suite:
    """torch's wheel carries few test files, but the samples and references that its tests of operators are made from (OpInfo)."""
    letters = [f"operators.{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    version = _distribution_version(_site_packages(python), "torch")
    return Suite("torch", "run_operators", letters, version, [_helpers(work, python, pins)])
