"""Files of packages with a manifest: damaged, forged, signed, and changed while they are used."""

import base64
import hashlib
import importlib.machinery
import importlib.util
import marshal
import os
import pathlib
import random
import struct
import subprocess
import sys
import zipfile

import manifest_packages
import pytest
from library_packages import load_model, write

import deploy

# Damage


def outcome(manager, path):
    """What loading and calling gives: the right result, or an error that is for the file's reader."""
    try:
        model = load_model(manager, path)
        assert model(21) == 42
        assert model.call_method("version") == "1.0"
        return "right"
    except deploy.Error as error:
        assert error.code in (deploy.ErrorCode.INVALID_PACKAGE, deploy.ErrorCode.NOT_FOUND), error
        return "error"


def test_a_file_that_is_cut_anywhere_is_refused(bare, tmp_path):
    whole = write(tmp_path / "a.pt").read_bytes()
    path = tmp_path / "cut.pt"
    for i in range(200):
        path.write_bytes(whole[: len(whole) * i // 200])
        assert outcome(bare, path) == "error"


def test_a_flipped_byte_is_refused_or_does_not_matter(bare, tmp_path):
    whole = write(tmp_path / "a.pt").read_bytes()
    path = tmp_path / "flipped.pt"
    chance = random.Random(0)
    outcomes = []
    for _ in range(1000):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= chance.choice((1, 2, 0x10, 0x80, 0xFF))
        path.write_bytes(damaged)
        outcomes.append(outcome(bare, path))
    assert outcomes.count("error") > 300  # half of such a small file is padding


def test_flipped_bytes_of_weights_are_noticed(manager, packages, tmp_path, raises):
    whole = bytearray((packages / "simple.pt").read_bytes())
    with zipfile.ZipFile(packages / "simple.pt") as archive:
        offset = next(info.header_offset for info in archive.infolist() if info.filename.endswith("0.storage"))
    whole[offset + 200] ^= 1
    (tmp_path / "flipped.pt").write_bytes(whole)
    with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
        manager.load_package(tmp_path / "flipped.pt")
    assert "record '.data/0.storage' does not have the checksum" in caught.value.message
    manager.load_package(tmp_path / "flipped.pt", check_weights=False)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_compressed_records_give_the_same(bare, tmp_path, compression):
    assert outcome(bare, write(tmp_path / "a.pt", compression=compression)) == "right"


@pytest.mark.parametrize("name", ["../up.py", "/etc/up.py", "lib_a/../../up.py", "lib_a/version.txt/below.py"])
def test_names_that_are_tricks_are_refused(bare, tmp_path, raises, name):
    with raises(deploy.ErrorCode.INVALID_PACKAGE):
        bare.load_package(write(tmp_path / "a.pt", records={name: "x"}))
    assert not (tmp_path / "up.py").exists()


def test_a_symbolic_link_is_refused(bare, tmp_path, raises):
    path = write(tmp_path / "a.pt")
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("a/lib_a/link.py")
        link.create_system = 3
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
        bare.load_package(path)
    assert "symbolic link 'a/lib_a/link.py'" in caught.value.message


# Trust


PRIVATE_PREFIX = bytes.fromhex("302e020100300506032b657004220420")
PUBLIC_PREFIX = bytes.fromhex("302a300506032b6570032100")


def pem(kind, der):
    return f"-----BEGIN {kind} KEY-----\n{base64.b64encode(der).decode()}\n-----END {kind} KEY-----\n"


def private_key(seed):
    return pem("PRIVATE", PRIVATE_PREFIX + bytes([seed]) * 32)


def public_key(name):
    return pem("PUBLIC", PUBLIC_PREFIX + base64.b64decode(name))


def test_a_digest_is_asked_of_the_whole_file(bare, tmp_path, raises):
    path = write(tmp_path / "a.pt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_model(bare, path, sha256=digest.upper())(1) == 2
    with raises(deploy.ErrorCode.UNTRUSTED) as caught:
        bare.load_package(path, sha256="0" * 64)
    assert f"has the SHA-256 {digest}; expected {'0' * 64}" in caught.value.message
    with open(path, "ab") as file:
        file.write(b"x")
    with pytest.raises(deploy.Error):
        bare.load_package(path, sha256=digest)


def test_a_signature_is_by_a_trusted_key_over_the_whole_file(bare, tmp_path, raises):
    path = write(tmp_path / "a.pt")
    (tmp_path / "key.pem").write_text(private_key(7))
    assert deploy.package_signer(path) is None
    with raises(deploy.ErrorCode.UNTRUSTED) as caught:
        bare.load_package(path, trusted_keys=[public_key("A" * 43 + "=")])
    assert "is not signed; expected a signature by AAAA" in caught.value.message
    name = deploy.sign_package(path, tmp_path / "key.pem")
    assert deploy.package_signer(path) == name
    key = tmp_path / "key.pub"
    key.write_text(public_key(name))
    assert deploy.verify_package(path, [key]) == name
    assert load_model(bare, path, trusted_keys=[public_key("A" * 43 + "="), key])(1) == 2
    assert load_model(bare, path)(1) == 2
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and archive.comment.startswith(b"deploy-signature-1 ")
    with raises(deploy.ErrorCode.UNTRUSTED) as caught:
        bare.load_package(path, trusted_keys=[public_key("A" * 43 + "=")])
    assert f"is signed by key {name}, which is not trusted" in caught.value.message

    assert deploy.sign_package(path, private_key(8)) != name  # in place of the first one
    with raises(deploy.ErrorCode.UNTRUSTED):
        bare.load_package(path, trusted_keys=[key])
    assert deploy.sign_package(path, private_key(7)) == name
    signed = path.read_bytes()
    changed = tmp_path / "changed.pt"
    chance = random.Random(1)
    for at in [30, len(signed) // 2, len(signed) - 100, *(chance.randrange(len(signed)) for _ in range(200))]:
        damaged = bytearray(signed)
        damaged[at] ^= 1
        changed.write_bytes(damaged)
        with pytest.raises(deploy.Error) as caught:
            bare.load_package(changed, trusted_keys=[key])
        assert caught.value.code in (deploy.ErrorCode.UNTRUSTED, deploy.ErrorCode.INVALID_PACKAGE)


def test_openssl_agrees_about_the_signature(tmp_path):
    path = write(tmp_path / "a.pt")
    key, public = tmp_path / "key.pem", tmp_path / "key.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    name = deploy.sign_package(path, key)
    assert deploy.verify_package(path, [public]) == name
    with zipfile.ZipFile(path) as archive:
        comment = archive.comment
    signed = path.read_bytes()[: -len(comment)]
    (tmp_path / "text").write_bytes(b"deploy package signature 1\0" + hashlib.sha256(signed).digest())
    (tmp_path / "signature").write_bytes(base64.b64decode(comment.split(b" ")[2]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", tmp_path / "text"]
    subprocess.run([*command, "-sigfile", tmp_path / "signature"], check=True)


@pytest.mark.parametrize("key", ["-----BEGIN NOTHING-----\n", "/no/such/key.pem"])
def test_a_key_that_is_none_is_named(tmp_path, key):
    path = write(tmp_path / "a.pt")
    for use in (lambda: deploy.sign_package(path, key), lambda: deploy.verify_package(path, [key])):
        with pytest.raises(deploy.Error) as caught:
            use()
        assert caught.value.code in (deploy.ErrorCode.INVALID_ARGUMENT, deploy.ErrorCode.NOT_FOUND)
        assert "key" in caught.value.message


def test_what_was_verified_is_what_runs(bare, tmp_path):
    """Code and pickles of a verified package come out of the bytes that were checked, whatever is written to the file later."""
    path = write(tmp_path / "a.pt", records={"model/late.pkl": manifest_packages.pickled_global("own_code", "make")})
    whole = path.read_bytes()
    package = bare.load_package(path, sha256=hashlib.sha256(whole).hexdigest())
    evil = whole.replace(b"cown_code\nmake\n", b"cos\ngetpid\n)R.")
    assert evil != whole
    with open(path, "r+b") as file:
        file.write(evil)
    assert package.load_pickle("model", "late.pkl")(4) == 8
    assert package.load_binary("model", "late.pkl").startswith(b"\x80\x03cown_code")


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


# The file afterwards


def test_the_file_may_be_removed_or_replaced(manager, packages, tmp_path):
    path = tmp_path / "model.pt"
    for change in (path.unlink, lambda: os.replace(tmp_path / "other.pt", path)):
        path.write_bytes((packages / "simple.pt").read_bytes())
        (tmp_path / "other.pt").write_bytes((packages / "plain.pt").read_bytes())
        package = manager.load_package(path)
        model = package.load_pickle("model", "model.pkl")
        change()
        model.preload()
        assert package.load_text("extra", "labels.txt") == "cat\ndög\n"
        assert package.load_pickle("model", "example.pkl").call_method("__len__") == 2


def test_a_file_that_was_cut_off_is_an_error_at_the_next_load(manager, packages, tmp_path, raises):
    path = tmp_path / "model.pt"
    path.write_bytes((packages / "simple.pt").read_bytes())
    package = manager.load_package(path)
    os.truncate(path, 100)
    with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
        package.load_pickle("model", "model.pkl")
    assert "was cut off while it was in use" in caught.value.message


def test_a_package_in_memory_stays_as_it_is(manager, packages, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes((packages / "simple.pt").read_bytes())
    package = manager.load_package(path, in_memory=True)
    model = package.load_pickle("model", "model.pkl")
    before = model.call_method("first")
    with open(path, "r+b") as file:
        file.write(os.urandom(path.stat().st_size))
    os.truncate(path, 0)
    model.preload()
    assert model.call_method("first") == before
    assert package.load_pickle("model", "model.pkl").call_method("first") == before


CUT_OFF = """
import os, sys, deploy
manager = deploy.InterpreterManager(1, deploy.Environment.from_running_python())
model = manager.load_package(sys.argv[1]).load_pickle("model", "model.pkl")
os.truncate(sys.argv[1], 0)
print("loaded", flush=True)
model.call_method("add_", 1.0)
"""


def test_weights_that_were_cut_off_end_the_process_as_any_mapped_file_does(packages, tmp_path):
    """The one thing that no error can be made of; `in_memory` is there for it."""
    path = tmp_path / "model.pt"
    path.write_bytes((packages / "big.pt").read_bytes())
    result = subprocess.run([sys.executable, "-c", CUT_OFF, path], capture_output=True, text=True)
    assert result.stdout == "loaded\n"
    assert result.returncode == -7
