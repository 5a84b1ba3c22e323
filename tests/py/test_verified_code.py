"""Verified packages run the bytes that were verified, whatever lies in the cache folder."""

import hashlib
import importlib.machinery
import importlib.util
import marshal
import pathlib
import struct

import pytest
from library_packages import load_model, write

import deploy


def planted_code(path):
    """Byte code that Python believes: the code is somebody else's, the header says the time and size of `path`."""
    code = compile("VERSION = 'planted'\ndef __getattr__(name): return 'planted'\nclass Thing: planted = True\n", str(path), "exec")
    status = path.stat()
    header = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, int(status.st_mtime), status.st_size)
    return header + marshal.dumps(code)


def plant(source, content):
    target = pathlib.Path(importlib.util.cache_from_source(str(source)))
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(content)


def hash_checked(source):
    """The same, valid for the hash of the source, which everybody can compute."""
    code = planted_code(source)
    return code[:4] + struct.pack("<I", 0b11) + importlib.util.source_hash(source.read_bytes()) + code[16:]


@pytest.mark.parametrize("byte_code", [planted_code, hash_checked])
def test_planted_byte_code_of_a_verified_package_does_not_run(make_manager, tmp_path, byte_code):
    path = write(tmp_path / "a.pt")
    options = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    manager = make_manager(2, cache_dir=tmp_path / "cache")
    model = load_model(manager, path, **options)
    folder = pathlib.Path(model.call_method("facts")["file"]).parent
    assert not list(folder.rglob("*.pyc"))
    del model
    manager.close()
    for name in ("__init__.py", "lazy.py"):
        plant(folder / name, byte_code(folder / name))
    # In both interpreters, whether it was there when the package was loaded or came after that.
    model = load_model(make_manager(2, cache_dir=tmp_path / "cache"), path, **options)
    for name in ("__init__.py", "lazy.py"):
        plant(folder / name, byte_code(folder / name))
    for interpreter in model.acquire_session, model.acquire_session:
        with interpreter() as session:
            on = session.from_replicated(model)
            assert on.call_method("version").to_value() == "1.0"
            assert on.call_method("run", "result = hasattr(lib_a.lazy.Thing, 'planted')").to_value() is False


def test_planted_files_of_a_verified_package_are_not_imported(make_manager, tmp_path):
    """What the path finder would take before the source: an extension module, a package of the name; and new modules."""
    path = write(tmp_path / "a.pt")
    options = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    model = load_model(make_manager(1, cache_dir=tmp_path / "cache"), path, **options)
    library = pathlib.Path(model.call_method("facts")["file"]).parent
    del model
    for when in ("before", "after"):
        if when == "after":
            model = load_model(make_manager(1, cache_dir=tmp_path / "cache"), path, **options)
        (library / "lazy").mkdir()
        (library / "lazy" / "__init__.py").write_text("class Thing: planted = True\n")
        (library / f"lazy{importlib.machinery.EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
        (library / "extra.py").write_text("")
        (library / "sourceless.pyc").write_bytes(planted_code(library / "lazy.py"))
        (library.parent / "numpy.py").write_text("")
        if when == "before":
            model = load_model(make_manager(1, cache_dir=tmp_path / "cache"), path, **options)
            assert not (library / "lazy").exists() and not (library.parent / "numpy.py").exists()
        assert model.call_method("run", "result = hasattr(lib_a.lazy.Thing, 'planted')") is False
        for name in ("lib_a.extra", "lib_a.sourceless", "numpy"):
            code = f"try:\n    import {name}\nexcept ModuleNotFoundError as error:\n    result = error.name\n"
            assert model.call_method("run", code) == name


def test_changed_sources_of_a_verified_package_do_not_run(make_manager, tmp_path):
    path = write(tmp_path / "a.pt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manager = make_manager(2, cache_dir=tmp_path / "cache")
    package = manager.load_package(path, sha256=digest)
    folder = next((tmp_path / "cache" / "trees-1").glob("*/lib_a"))
    (folder / "__init__.py").chmod(0o600)
    (folder / "__init__.py").write_text("raise SystemExit\n")
    model = package.load_pickle("model", "model.pkl")
    model.preload()
    assert model.call_method("version") == "1.0"


def test_verified_and_unverified_packages_with_equal_code(make_manager, tmp_path):
    """A verified package does not take modules that came out of the folder; the other way round they are shared."""
    path, other = write(tmp_path / "a.pt"), write(tmp_path / "b.pt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manager = make_manager(1)
    unverified = manager.load_package(other)
    verified = manager.load_package(path, sha256=digest)
    ids = [[each.id for each in package.interpreters] for package in (unverified, verified)]
    assert ids[0] != ids[1]
    assert [each.load_pickle("model", "model.pkl").call_method("version") for each in (unverified, verified)] == ["1.0", "1.0"]
    del unverified, verified
    manager = make_manager(1)
    verified = manager.load_package(path, sha256=digest)
    unverified = manager.load_package(other)
    assert [each.id for each in verified.interpreters] == [each.id for each in unverified.interpreters]
    del verified
    model = unverified.load_pickle("model", "model.pkl")
    assert model.call_method("version") == "1.0" and model.call_method("facts")["resource"] == "one two\n"


def test_verified_code_finds_everything_that_an_installed_one_has(make_manager, tmp_path):
    (tmp_path / "site" / "shared").mkdir(parents=True)
    (tmp_path / "site" / "shared" / "outside.py").write_text("value = 'outside'\n")
    records = {"shared/inside.py": "value = 'inside'\n", "shared/deep/er.py": "value = 'deeper'\n"}
    path = write(tmp_path / "a.pt", records=records)
    manager = make_manager(2, extra_paths=[tmp_path / "site"])
    model = load_model(manager, path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    model.preload()
    for interpreter in manager.interpreters:
        with interpreter.acquire_session() as session:
            on = session.from_replicated(model)
            facts = on.call_method("facts").to_value()
            assert "found late" in facts["source"]
            code = "result = [[each.name, each.ispkg] for each in pkgutil.walk_packages(lib_a.__path__)]"
            assert on.call_method("run", code).to_value() == [["lazy", False]]
            assert on.call_method(
                "run", "import importlib.util\nresult = importlib.util.find_spec('lib_a.none') is None"
            ).to_value()
            assert facts["listed"] and facts["entry"] == [True] and facts["pickled"] and facts["names"] == ["lazy"]
            assert (facts["metadata"], facts["resource"], facts["data"]) == ("1.0", "one two\n", b"one two\n")
            code = "import shared.inside as a, shared.outside as b, shared.deep.er as c\nresult = [a.value, b.value, c.value]"
            assert on.call_method("run", code).to_value() == ["inside", "outside", "deeper"]
            code = "import importlib.resources as r, shared\nresult = r.files(shared).joinpath('inside.py').read_text()"
            assert on.call_method("run", code).to_value() == "value = 'inside'\n"


def test_a_sourceless_module_is_found_and_checked_like_others(make_manager, tmp_path):
    code = compile("import subprocess\n", "inner.py", "exec")
    inner = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, 0, 0) + marshal.dumps(code)
    path = write(tmp_path / "a.pt", records={"lib_a/inner.pyc": inner})
    for options in ({}, {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}):
        model = load_model(make_manager(), path, **options)
        assert model.call_method("run", "import lib_a.inner\nresult = lib_a.inner.subprocess.__name__") == "subprocess"
        model = load_model(make_manager(allowed_externs=["!subprocess"]), path, **options)
        with pytest.raises(deploy.Error, match="must not import 'subprocess'"):
            model.call_method("run", "import lib_a.inner")
