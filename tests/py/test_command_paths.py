"""What the commands are given instead of a file: a FIFO, a folder, a socket, a device. None waits, none is written over."""

import base64
import os
import pathlib
import socket
import stat
import subprocess
import sys

import pytest

import deploy.package

SECONDS = 60  # nothing here waits for anybody; a command that does would wait for ever
KINDS = {"a FIFO": stat.S_ISFIFO, "a directory": stat.S_ISDIR, "a socket": stat.S_ISSOCK, "a device": stat.S_ISCHR}
KEY = base64.b64encode(bytes.fromhex("302e020100300506032b657004220420") + bytes(range(32))).decode()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("adding.py").write_text(
        "class Adder:\n    def __call__(self, a):\n        return a\n\n\ndef build():\n    return Adder()\n"
    )
    pathlib.Path("key.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n")
    assert command("pack", "adding:build", "-o", "good.pt", "-q", "--no-verify")[0] == 0
    return tmp_path


def command(*arguments):
    """(exit status, stderr) of a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(deploy.__file__).parent.parent)}
    line = [sys.executable, "-m", "deploy", *arguments]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS)
    return done.returncode, done.stderr


def put(kind, path):
    """Something of that kind. A device is a link to one, so that nothing could ever take the place of the device itself."""
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a directory":
        os.mkdir(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
    else:
        os.symlink("/dev/null", path)


def is_one_line(told, says):
    assert told.startswith("deploy: ") and told.count("\n") == 1 and says in told, told


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_in_one_line(project, kind):
    for name in ("thing", "thing.npy"):
        put(kind, name)
    for arguments in (("inspect", "thing"), ("verify", "thing"), ("run", "thing"), ("sign", "thing", "key.pem")):
        status, told = command(*arguments)
        assert status == 1
        is_one_line(told, "'thing'")
    for arguments, says in (
        (("sign", "good.pt", "thing"), f"key file 'thing' is {kind}, expected a file"),
        (("pack", "adding:build", "-o", "new.pt", "-q", "--no-verify", "--sign", "thing"), f"key file 'thing' is {kind}, expected"),
        (
            ("pack", "adding:build", "-o", "thing", "-q", "--no-verify"),
            f"cannot write package 'thing': it is {kind}, expected a file",
        ),
        (("run", "good.pt", "thing.npy"), f"'thing.npy' is {kind}, expected a file"),
        (("run", "good.pt", "a=thing.npy"), f"'thing.npy' is {kind}, expected a file"),
    ):
        status, told = command(*arguments)
        assert status == 1
        is_one_line(told, says)
    assert KINDS[kind](os.stat("thing").st_mode)  # still what it was
    assert "new.pt" not in os.listdir()
    assert not [name for name in os.listdir() if name.startswith(".")]  # nothing half-written
    assert command("run", "good.pt", "a=5") == (0, "")


def test_a_key_that_is_not_there_is_said_before_anything_is_packed(project):
    for arguments in (("sign", "good.pt", "none.pem"), ("pack", "adding:build", "-o", "new.pt", "-q", "--sign", "none.pem")):
        status, told = command(*arguments)
        assert status == 1
        is_one_line(told, "key file 'none.pem' cannot be opened")
    assert command("sign", "good.pt", "key.pem") == (0, "")


def test_a_folder_that_is_not_there_is_said_in_one_line(project):
    for path in ("absent/new.pt", "adding.py/new.pt"):
        status, told = command("pack", "adding:build", "-o", path, "-q", "--no-verify")
        assert status == 1
        is_one_line(told, f"cannot write package '{path}': ")


def test_a_file_and_a_link_to_one_are_written_over(project):
    os.symlink("good.pt", "link.pt")
    for path in ("good.pt", "link.pt"):
        assert command("pack", "adding:build", "-o", path, "-q", "--no-verify") == (0, "")
        assert command("run", path, "a=7") == (0, "")


def test_the_place_of_a_package_is_looked_at_again_before_it_is_taken(project):
    """What became something else while the package was written and verified stays."""
    sys.path.insert(0, str(project))
    try:
        from adding import Adder

        with pytest.raises(deploy.Error) as caught:
            deploy.package.save("late", Adder(), verify=False, progress=lambda text: "late" in os.listdir() or os.mkfifo("late"))
    finally:
        sys.path.remove(str(project))
        del sys.modules["adding"]
    assert caught.value.code == deploy.ErrorCode.INVALID_ARGUMENT and "it is a FIFO" in caught.value.message
    assert stat.S_ISFIFO(os.stat("late").st_mode) and not [name for name in os.listdir() if name.startswith(".")]
