"""Packages with a manifest: their code at home in an interpreter, apart from other code of its names, gone with its package."""

import hashlib
import json
import os
import pathlib
import stat
import subprocess
import sys
import time
import zipfile

import manifest_packages
import pytest
from library_packages import LIBRARY, OWN, eventually, load_model, versioned, write

import deploy


def imported_in(manager, name):
    found = []
    for interpreter in manager.interpreters:
        with interpreter.acquire_session() as session:
            found.append(session.global_("sys", "modules").call_method("__contains__", name).to_value())
    return found


# At home


def test_interned_code_finds_everything_that_an_installed_one_has(bare, cache, tmp_path):
    model = load_model(bare, write(tmp_path / "a.pt"))
    model.preload()
    for interpreter in bare.interpreters:
        with interpreter.acquire_session() as session:
            facts = session.from_replicated(model).call_method("facts").to_value()
            assert facts.pop("file").startswith(str(cache))
            assert "found late" in facts.pop("source")
            assert facts == {
                "listed": True,
                "metadata": "1.0",
                "requires": ["numpy>1"],
                "entry": [True],
                "resource": "one two\n",
                "data": b"one two\n",
                "pickled": True,
                "names": ["lazy"],
                "torch": False,
            }


def test_byte_code_is_kept_beside_the_sources(bare, cache, tmp_path):
    model = load_model(bare, write(tmp_path / "a.pt"))
    folder = pathlib.Path(model.call_method("facts")["file"]).parent
    assert list((folder / "__pycache__").glob("lazy.*.pyc"))


def test_a_namespace_package_has_parts_inside_and_in_the_environment(make_manager, tmp_path):
    (tmp_path / "site" / "shared").mkdir(parents=True)
    (tmp_path / "site" / "shared" / "outside.py").write_text("value = 'outside'\n")
    path = write(tmp_path / "a.pt", records={"shared/inside.py": "value = 'inside'\n"})
    model = load_model(make_manager(extra_paths=[tmp_path / "site"]), path)
    assert (
        model.call_method("run", "import shared.inside, shared.outside\nresult = shared.inside.value + shared.outside.value")
        == "insideoutside"
    )


def test_own_code_may_ask_for_its_package(bare, tmp_path):
    own = "import torch_package_importer as importer\n" + OWN
    model = load_model(bare, write(tmp_path / "a.pt", own=own, records={"assets/labels.txt": "cat"}))
    assert model.call_method("run", "result = importer.load_text('assets', 'labels.txt')") == "cat"


def test_what_the_package_says_of_itself_is_there_and_reading_it_starts_nothing(bare, tmp_path):
    path = write(tmp_path / "a.pt", manifest={"unknown": {"later": 1}})
    package = bare.load_package(path)
    assert package.manifest == deploy.read_manifest(path)
    assert package.manifest["interned"][0]["distribution"] == "lib_a" and package.manifest["unknown"] == {"later": 1}
    assert deploy.read_manifest(manifest_packages.write(tmp_path / "b.pt", {"a.py": b""}, manifest=False)) is None


# Kept apart


def test_interned_code_comes_before_what_is_installed(make_manager, tmp_path):
    (tmp_path / "lib_a.py").write_text("VERSION = 'installed'\n")
    manager = make_manager(extra_paths=[tmp_path])
    package = manager.load_package(write(tmp_path / "a.pt"))
    assert package.load_pickle("model", "model.pkl").call_method("version") == "1.0"
    assert [each.id for each in package.interpreters] == [each.id for each in manager.interpreters]
    del package
    with manager.acquire_session() as session:
        assert session.global_("lib_a", "VERSION").to_value() == "installed"


def test_a_package_gets_its_own_interpreters_where_a_name_is_imported_already(make_manager, tmp_path):
    (tmp_path / "lib_a.py").write_text("VERSION = 'installed'\n")
    manager = make_manager(2, extra_paths=[tmp_path], preload=["lib_a"])
    manager.register_module("registered", "value = 3")
    package = manager.load_package(write(tmp_path / "a.pt"))
    model = package.load_pickle("model", "model.pkl")
    assert model.call_method("version") == "1.0"
    assert not {each.id for each in package.interpreters} & {each.id for each in manager.interpreters}
    assert len(package.interpreters) == 2
    assert model.call_method("run", "import registered\nresult = registered.value") == 3
    with manager.acquire_session() as session, pytest.raises(deploy.Error, match="another manager|its own"):
        session.from_replicated(model)
    with model.acquire_session() as session:
        copy = session.replicate(session.from_replicated(model))
    assert copy.call_method("version") == "1.0"
    del copy, model, package
    assert imported_in(manager, "lib_a") == [True, True]


def test_two_versions_of_a_library_are_never_in_one_interpreter(bare, tmp_path):
    first = bare.load_package(write(tmp_path / "a.pt"))
    second = bare.load_package(write(tmp_path / "b.pt", versioned("2.0")))
    models = [package.load_pickle("model", "model.pkl") for package in (first, second)]
    assert [model.call_method("version") for model in models] == ["1.0", "2.0"]
    assert not {each.id for each in first.interpreters} & {each.id for each in second.interpreters}
    third = bare.load_package(write(tmp_path / "c.pt", versioned("2.0")))
    assert [each.id for each in third.interpreters] == [each.id for each in second.interpreters]


def test_packages_with_equal_code_share_it(bare, tmp_path):
    first = load_model(bare, write(tmp_path / "a.pt"))
    second = load_model(bare, write(tmp_path / "b.pt", records={"extra/labels.txt": "cat"}, own=OWN.replace("own_code", "own_b")))
    first.preload()
    assert second(1) == 2
    # The library is equal; their own modules are not, and have one name.
    assert first.call_method("facts")["file"] == second.call_method("facts")["file"]
    third = bare.load_package(write(tmp_path / "c.pt"))
    assert [each.id for each in third.interpreters] == [each.id for each in bare.interpreters]
    del first
    assert third.load_pickle("model", "model.pkl").call_method("version") == "1.0"


def test_a_library_that_one_package_has_inside_and_another_takes_from_the_environment(make_manager, tmp_path):
    (tmp_path / "lib_a.py").write_text("VERSION = 'installed'\n")
    manager = make_manager(extra_paths=[tmp_path])
    outside = {"library": {}, "externs": [("lib_a", None, None)], "own": OWN.replace("own_code", "other_code")}
    for order in (0, 1):
        paths = [write(tmp_path / f"inside{order}.pt"), write(tmp_path / f"outside{order}.pt", **outside)]
        packages = [manager.load_package(path) for path in (paths if order else reversed(paths))]
        versions = {package.load_pickle("model", "model.pkl").call_method("version") for package in packages}
        assert versions == {"1.0", "installed"}
        del packages


def test_a_name_that_every_interpreter_has_is_refused(bare, tmp_path, raises):
    with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
        bare.load_package(write(tmp_path / "a.pt", records={"types.py": ""}))
    assert "module 'types' is imported already" in caught.value.message


def test_what_the_environment_took_from_a_package_stays_for_the_next_one(make_manager, tmp_path):
    (tmp_path / "outside.py").write_text("import lib_a\nfrom lib_a.lazy import Thing\n")
    manager = make_manager(extra_paths=[tmp_path])
    paths = [write(tmp_path / "a.pt"), write(tmp_path / "b.pt", versioned("2.0"))]
    for _ in range(2):
        package = manager.load_package(paths[0])
        model = package.load_pickle("model", "model.pkl")
        assert model.call_method("run", "import outside\nresult = outside.Thing is lib_a.lazy.Thing") is True
        assert [each.id for each in package.interpreters] == [each.id for each in manager.interpreters]
        del model, package
        assert imported_in(manager, "lib_a") == [True]
        assert imported_in(manager, "own_code") == [False]
    other = manager.load_package(paths[1])
    assert [each.id for each in other.interpreters] != [each.id for each in manager.interpreters]


# The cache


def test_a_damaged_cache_is_repaired(make_manager, tmp_path):
    path = write(tmp_path / "a.pt")
    cache = tmp_path / "cache"
    cache.mkdir()
    damage = [
        lambda file: file.unlink(),
        lambda file: (file.chmod(0o600), file.write_text("")),
        lambda file: (file.chmod(0o600), file.write_text(file.read_text().replace("pathlib", "nothing"))),
        lambda file: (file.unlink(), file.mkdir()),
    ]
    for change in damage:
        with deploy.InterpreterManager(1, deploy.Environment(cache_dir=cache)) as manager:
            assert load_model(manager, path).call_method("version") == "1.0"
        (file,) = cache.rglob("lib_a/__init__.py")
        change(file)
    with deploy.InterpreterManager(1, deploy.Environment(cache_dir=cache)) as manager:
        assert load_model(manager, path).call_method("version") == "1.0"


def test_a_verified_package_does_not_trust_what_looks_intact_in_the_cache(make_manager, tmp_path):
    path = write(tmp_path / "a.pt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manager = make_manager(cache_dir=tmp_path / "cache")
    manager.load_package(path)
    (file,) = (tmp_path / "cache").rglob("version.txt")
    times = file.stat()
    file.chmod(0o600)
    file.write_text("6.6")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert load_model(make_manager(cache_dir=tmp_path / "cache"), path, sha256=digest).call_method("version") == "1.0"


def test_a_cache_that_others_can_write_in_is_refused(make_manager, tmp_path, raises):
    cache = tmp_path / "cache"
    (cache / "trees-1").mkdir(parents=True)
    (cache / "trees-1").chmod(0o777)
    with raises(deploy.ErrorCode.ENVIRONMENT) as caught:
        make_manager(cache_dir=cache).load_package(write(tmp_path / "a.pt"))
    assert "others than its owner may write in it; set Environment::cache_dir" in caught.value.message


def test_processes_may_unpack_at_once(tmp_path):
    path = write(tmp_path / "a.pt", records={f"many/m{i}.py": f"value = {i}\n" for i in range(300)})
    script = (
        "import sys, deploy\n"
        "with deploy.InterpreterManager(2, deploy.Environment(cache_dir=sys.argv[2])) as manager:\n"
        "    model = manager.load_package(sys.argv[1]).load_pickle('model', 'model.pkl')\n"
        "    model.preload()\n"
        "    assert model.call_method('run', 'import many.m299 as m\\nresult = m.value') == 299\n"
    )
    command = [sys.executable, "-c", script, path, tmp_path / "cache"]
    assert [process.wait() for process in [subprocess.Popen(command) for _ in range(4)]] == [0] * 4
    names = [entry.name for entry in (tmp_path / "cache" / "trees-1").iterdir()]
    assert len(names) == 4 and not [name for name in names if "." in name and not name.endswith(".lock")]


def test_nothing_is_written_outside_the_cache_and_files_in_it_are_read_only(make_manager, tmp_path):
    path = write(tmp_path / "a.pt")
    load_model(make_manager(cache_dir=tmp_path / "cache"), path).call_method("facts")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.pt", "cache"]
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    (file,) = (tmp_path / "cache").rglob("lib_a/version.txt")
    assert stat.S_IMODE(file.stat().st_mode) == 0o444


# Requirements


def test_all_that_is_missing_or_too_old_is_said_at_once(make_manager, tmp_path, raises):
    metadata = tmp_path / "thing-1.0rc1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1.0rc1\n")
    (tmp_path / "thing.py").write_text("")
    externs = [("absent_one", None, None), ("absent.two", "absent", "1.0"), ("thing", "thing", "1.0"), ("json", None, None)]
    path = write(tmp_path / "a.pt", externs=externs, manifest={"python": "4.7.1"})
    manager = make_manager(extra_paths=[tmp_path])
    with raises(deploy.ErrorCode.MISSING_EXTERN) as caught:
        manager.load_package(path)
    for part in (
        "it was written with Python 4.7.1, and this library runs Python 3.",
        "needs 2 modules that the environment does not have: absent_one, absent.two",
        "needs these versions or later: thing 1.0 (found 1.0rc1)",
    ):
        assert part in caught.value.message
    manager.load_package(write(tmp_path / "b.pt", externs=[("thing", "thing", "1.0b2")]))


def test_a_format_of_the_future_is_refused_with_both_numbers(bare, tmp_path, raises):
    path = write(tmp_path / "a.pt", manifest={"format": 7})
    for use in (bare.load_package, deploy.read_manifest):
        with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
            use(path)
        assert "has format 7; this version of deploy reads formats up to 1" in caught.value.message


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ({"format": None}, "has no format number"),
        ({"callables": 3}, "'callables' is not a list"),
        ({"callables": [{"package": 3}]}, "'package' is not a string"),
        ({"records": {}}, "'lib_a-1.0.dist-info/METADATA' is not a record that the manifest lists"),
        ({"examples": [{"callable": 9, "inputs": ["a", "b"], "outputs": ["a", "b"]}]}, "is not the number of one of the callables"),
    ],
)
def test_a_manifest_of_another_structure_is_refused(bare, tmp_path, raises, manifest, says):
    with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
        bare.load_package(write(tmp_path / "a.pt", manifest=manifest))
    assert says in caught.value.message or "is not a record that the manifest lists" in caught.value.message


def test_records_that_are_not_what_the_manifest_says_are_refused(bare, tmp_path, raises):
    for name, digest, says in (
        (
            "lib_a/lazy.py",
            {"sha256": "0" * 64, "size": len(LIBRARY["lib_a/lazy.py"])},
            "does not have the SHA-256 that its manifest says",
        ),
        ("lib_a/lazy.py", {"sha256": "0" * 64, "size": 3}, "is not of the size that the manifest says"),
        ("lib_a/gone.py", {"sha256": "0" * 64, "size": 3}, "is not in the package, although its manifest lists it"),
    ):
        with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
            bare.load_package(write(tmp_path / "a.pt", digests={name: digest}))
        assert name in caught.value.message and says in caught.value.message


# Externs that are not allowed


def test_a_package_imports_what_the_environment_allows_and_nothing_else(make_manager, tmp_path, raises):
    for name in ("good", "bad"):
        (tmp_path / f"{name}.py").write_text("value = 1\n")
    manager = make_manager(extra_paths=[tmp_path], allowed_externs=["goo?", "!subprocess"])
    model = load_model(manager, write(tmp_path / "a.pt", externs=[("good", None, None)]))
    assert model.call_method("run", "import good, json\nfrom lib_a import lazy\nresult = good.value") == 1
    for code, name in (
        ("import bad", "bad"),
        ("from bad import value", "bad"),
        ("import subprocess", "subprocess"),
        ("__import__('bad')", "bad"),
    ):
        with raises(deploy.ErrorCode.PYTHON) as caught:
            model.call_method("run", code)
        assert caught.value.python_type == "ImportError"
        assert f"package '{tmp_path}/a.pt' must not import '{name}'" in caught.value.message
    with raises(deploy.ErrorCode.UNTRUSTED) as caught:
        manager.load_package(write(tmp_path / "b.pt", externs=[("good", None, None), ("bad", None, None)]))
    assert "allowed_externs leave out: bad" in caught.value.message


def test_a_pickle_may_not_take_what_is_not_allowed(make_manager, tmp_path, raises):
    path = write(tmp_path / "a.pt", records={"model/evil.pkl": manifest_packages.pickled_global("subprocess", "Popen", call=False)})
    package = make_manager(allowed_externs=["!subprocess"]).load_package(path)
    with raises(deploy.ErrorCode.PYTHON) as caught:
        package.load_pickle("model", "evil.pkl")
    assert "must not import 'subprocess'" in caught.value.message
    plain = manifest_packages.write(
        tmp_path / "b.pt", {"model/evil.pkl": manifest_packages.pickled_global("subprocess", "Popen")}, manifest=False
    )
    with raises(deploy.ErrorCode.PYTHON) as caught:
        make_manager(allowed_externs=["!subprocess"]).load_package(plain).load_pickle("model", "evil.pkl")
    assert "must not import 'subprocess'" in caught.value.message


# The end


def mappings(path):
    return [line for line in pathlib.Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))]


def is_open(path):
    folder = pathlib.Path("/proc/self/fd")
    return any(os.path.exists(fd) and os.path.samefile(fd, path) for fd in folder.iterdir())


REGISTERS = """
import copyreg, logging, typing

class Finder:
    def find_spec(self, name, path=None, target=None):
        return None

@typing.overload
def twice(x: int) -> int: ...
def twice(x):
    return x * 2

def shout(self, text):
    self.warning(text.upper())

sys.meta_path.append(Finder())
copyreg.pickle(Model, lambda model: (make, ()))
logging.Logger.shout = shout
remembered = typing.Optional[Model]
"""


def test_a_dropped_package_leaves_idle_interpreters(bare, tmp_path):
    own = (
        OWN
        + REGISTERS
        + "import weakref, builtins\nbuiltins.witness = weakref.ref(Model)\nbuiltins.witnesses = [weakref.ref(lib_a)]\n"
    )
    model = load_model(bare, write(tmp_path / "a.pt", own=own))
    model.preload()
    model.call_method("facts")
    assert imported_in(bare, "lib_a") == [True, True]
    del model
    time.sleep(0.3)  # nobody enters the interpreters: they give it back by themselves
    for interpreter in bare.interpreters:
        with interpreter.acquire_session() as session:
            assert session.global_("builtins", "witness")().to_value() is None
            assert session.global_("builtins", "witnesses").call_method("pop")().to_value() is None
            assert not session.global_("sys", "modules").call_method("__contains__", "lib_a").to_value()
            assert not [entry for entry in session.global_("sys", "path").to_value() if "trees-1" in entry]
            assert "own_code" not in session.global_("builtins", "str")(session.global_("sys", "meta_path")).to_value()
            assert not session.global_("logging", "Logger").hasattr("shout")


def test_weights_of_a_dropped_package_are_unmapped(manager, packages, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes((packages / "simple.pt").read_bytes())
    package = manager.load_package(path)
    model = package.load_pickle("model", "model.pkl")
    model.preload()
    assert len(mappings(path)) == len(manager)
    del package, model
    assert eventually(lambda: not mappings(path))
    assert eventually(lambda: not is_open(path))


def interpreter_threads():
    """Each interpreter has a thread of this name."""
    names = [(task / "comm").read_text().strip() for task in pathlib.Path("/proc/self/task").iterdir()]
    return sorted(name for name in names if name.startswith("deploy-"))


def test_the_interpreters_of_a_dropped_package_are_gone(bare, tmp_path):
    before = interpreter_threads()
    first = bare.load_package(write(tmp_path / "a.pt"))
    second = bare.load_package(write(tmp_path / "b.pt", versioned("2.0")))
    assert len(interpreter_threads()) == len(before) + 2
    del second
    assert eventually(lambda: interpreter_threads() == before)
    assert first.load_pickle("model", "model.pkl")(1) == 2


def test_a_manifest_is_json_that_other_tools_read(tmp_path):
    with zipfile.ZipFile(write(tmp_path / "a.pt")) as archive:
        assert json.loads(archive.read("a/.data/deploy/manifest.json"))["format"] == 1
