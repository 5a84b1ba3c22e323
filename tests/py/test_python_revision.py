"""third_party/cpython: the image has one revision of Python, in C and in Python code."""

import importlib.util
import pathlib
import subprocess
import sys
import sysconfig
import types

import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "third_party" / "cpython"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
FULL_VERSION = f"{VERSION}.{sys.version_info.micro}"
BUILT = FOLDER.parents[1] / "build-python"


def load(name, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def revision(monkeypatch):
    return load("revision", monkeypatch)


@pytest.fixture
def pair(tmp_path):
    """A library and a standard library as build.py leaves them."""

    def pair(of_library, of_stdlib):
        (tmp_path / "stdlib").mkdir()
        library = tmp_path / f"libpython{VERSION}-pic.a"
        library.touch()
        for folder, told in ((tmp_path, of_library), (tmp_path / "stdlib", of_stdlib)):
            if told:
                (folder / "revision").write_text(told)
        return library, tmp_path / "stdlib"

    return pair


def test_a_pair_of_one_revision_is_accepted(revision, pair):
    assert revision.problem(*pair("3.11.2-6+deb12u8", "3.11.2-6+deb12u8")) is None


def test_a_pair_of_two_revisions_is_refused_with_both(revision, pair):
    library, stdlib = pair("3.11.2-6+deb12u8", "3.11.2-6+deb12u6")
    expected = f"{library} was built from revision 3.11.2-6+deb12u8, and the standard library in {stdlib} is of 3.11.2-6+deb12u6"
    assert revision.problem(library, stdlib) == expected
    done = subprocess.run([sys.executable, FOLDER / "revision.py", library, stdlib], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (1, expected)


def test_a_standard_library_that_tells_no_revision_is_refused_beside_a_library_that_does(revision, pair):
    assert revision.problem(*pair("3.11.2-6+deb12u8", None)).endswith("is of a revision that nothing tells")


def test_a_library_of_another_origin_is_compared_by_its_version(revision, pair, monkeypatch):
    library, stdlib = pair(None, None)
    assert revision.problem(library, stdlib) is None
    monkeypatch.setattr(revision, "version_of_library", lambda library: "3.9.1")
    assert (
        revision.problem(library, stdlib)
        == f"{library} is Python 3.9.1, and the standard library in {stdlib} is of Python {FULL_VERSION}"
    )


def test_a_shared_library_says_its_version(revision):
    folder = sysconfig.get_config_var("LIBDIR")
    libraries = [*BUILT.glob(f"libpython{VERSION}.so*"), *pathlib.Path(folder).glob(f"libpython{VERSION}.so")]
    if not libraries:
        pytest.skip("this machine has no shared libpython")
    assert revision.version_of_library(libraries[0]) == FULL_VERSION


@pytest.mark.skipif(not (BUILT / "revision").is_file(), reason="the image has the library of the distribution")
def test_what_the_image_was_built_from_is_one_revision(revision):
    (library,) = BUILT.glob("libpython*.so*")
    stdlib = BUILT / "stdlib" if (BUILT / "stdlib").is_dir() else f"/usr/lib/python{VERSION}"
    assert revision.of_library(library) == revision.of_stdlib(stdlib) is not None


@pytest.mark.parametrize(
    ("fetchable", "installed", "chosen", "has_stdlib"),
    [
        ({"1-3", "1-2", "1-1"}, "1-2", "1-2", False),  # the installed one, though there are newer ones
        ({"1-3", "1-1"}, "1-2", "1-3", True),  # the newest, with its standard library
        ({"1-1"}, "1-2", "1-1", True),  # 1-3 is listed and cannot be fetched
    ],
)
def test_the_source_is_that_of_the_installed_revision_or_comes_with_its_standard_library(
    monkeypatch, tmp_path, revision, fetchable, installed, chosen, has_stdlib
):
    build = load("build", monkeypatch)

    def run(command, log, *, cwd, env=None):
        if "source" in command and command[-1].rpartition("=")[2] not in fetchable:
            raise build.Failure("not on the mirror")

    shown = "Package: pythonX\nVersion: 1-3\n\nVersion: 1-2\nVersion: 1-1\nVersion: 0-9\n"
    monkeypatch.setattr(build, "run", run)
    monkeypatch.setattr(build.subprocess, "run", lambda *_, **__: types.SimpleNamespace(stdout=shown, returncode=0))
    monkeypatch.setattr(build.Sources, "__init__", lambda self, folder: setattr(self, "_folder", folder))
    monkeypatch.setattr(build.Sources, "_unpacked", lambda self, package, version, log: f"source of {version}")
    monkeypatch.setattr(build.Sources, "_stdlib", lambda self, version, log: f"library of {version}")
    found = build.Sources(tmp_path).fetch("pythonX", "1", installed)
    assert found == (chosen, f"source of {chosen}", f"library of {chosen}" if has_stdlib else None)
    with pytest.raises(build.Failure, match=r"no source of pythonX 7 \(found: 1-3, 1-2, 1-1, 0-9\)"):
        build.Sources(tmp_path).fetch("pythonX", "7", installed)
