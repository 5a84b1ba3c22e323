"""Files of packages with a manifest: damaged, forged, signed, and changed while they are used."""

import base64
import hashlib
import os
import random
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
