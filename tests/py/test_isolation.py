"""The table of isolation (isolation_table.py, docs/isolation.md) is what happens; and the environment that child processes get."""

import json
import pathlib
import subprocess
import sys

import isolation_table
import pytest
from isolation_table import ROWS, TOPICS

import deploy

HERE = pathlib.Path(__file__).parent


def needs_libraries(row):
    return row.imports in ("numpy", "torch")


def observe(indices):
    command = [sys.executable, str(HERE / "isolation_probe.py"), *map(str, indices)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(indices, json.loads(done.stdout), strict=True))


@pytest.fixture(scope="module")
def observed():
    """observed(index): rows that can be undone share a process, with or without libraries; the others have one each."""
    known = {}

    def observed(index):
        if index not in known:
            row = ROWS[index]
            alike = [
                i
                for i, r in enumerate(ROWS)
                if (r.alone, r.imports in ("numpy", "torch")) == (False, row.imports in ("numpy", "torch"))
            ]
            known.update(observe([index] if row.alone else alike))
        return known[index]

    return observed


@pytest.mark.parametrize("index", range(len(ROWS)), ids=[row.name.replace("`", "") for row in ROWS])
def test_a_setting_is_seen_where_the_table_says(index, observed, request):
    row = ROWS[index]
    if needs_libraries(row):
        request.getfixturevalue("torch")
    seen = observed(index)
    if row.kind == "refused":
        assert row.error in seen["error"]
        return
    assert seen["error"] is None and seen["undone"] is None
    before, after, value = seen["before"], seen["after"], repr(row.value)
    sees = {
        "isolated": {"A"},
        "shared": {"A", "B", "host", "thread"},
        "thread": {"A", "B", "host"},
        "session": set(),
        "own": set(),
    }[row.kind]
    assert {place: after[place] for place in ("A", "B", "host", "thread")} == {
        place: value if place in sees else before[place] for place in ("A", "B", "host", "thread")
    }
    if row.kind == "session":
        assert seen["same"] == value
    if row.kind == "own":
        assert len({before["A"], before["B"], before["host"]}) == 3
    if row.child is not None:
        assert after["child"] == (value if row.child else before["child"])


def test_the_page_is_the_tables():
    assert isolation_table.PAGE.read_text() == isolation_table.page(), "run tests/py/isolation_table.py"
    assert len(ROWS) >= 60 and all(
        row.note for rows in TOPICS.values() for row in rows if row.kind in ("shared", "thread", "refused")
    )


CHILDREN = """
import os, subprocess

def by_subprocess():
    return subprocess.run("echo $DEPLOY_CHILD", shell=True, capture_output=True, text=True).stdout.strip()

def by_given_environment():
    return subprocess.check_output(["/bin/sh", "-c", "echo $DEPLOY_CHILD"], env={"DEPLOY_CHILD": "given"}, text=True).strip()

def by_popen():
    with os.popen("echo $DEPLOY_CHILD") as stream:
        return stream.read().strip()

def by_system():
    return {0: "same", 1: "other"}[os.waitstatus_to_exitcode(os.system(f'test "$DEPLOY_CHILD" = "{expected}"'))]

def by_exec():
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1)
        os.execlp("sh", "sh", "-c", "echo $DEPLOY_CHILD")
    os.waitpid(child, 0)
    os.close(write)
    with open(read) as stream:
        return stream.read().strip()

def set(value):
    global expected
    expected = value
    os.environ["DEPLOY_CHILD"] = value

def put(value):
    os.putenv("DEPLOY_CHILD", value)

def unset():
    global expected
    expected = ""
    del os.environ["DEPLOY_CHILD"]
"""


@pytest.fixture
def pair(make_manager):
    manager = make_manager(2)
    manager.register_module("children", CHILDREN)

    def call(index, name, *arguments):
        with manager.interpreters[index].acquire_session() as session:
            return session.global_("children", name)(*arguments).to_value()

    return call


@pytest.mark.parametrize("how", ["by_subprocess", "by_popen", "by_exec"])
def test_child_processes_get_the_environment_of_their_interpreter(pair, how):
    pair(0, "set", "of A")
    assert (pair(0, how), pair(1, how)) == ("of A", "")
    pair(1, "set", "of B")
    assert (pair(0, how), pair(1, how)) == ("of A", "of B")
    pair(0, "unset")
    assert (pair(0, how), pair(1, how)) == ("", "of B")
    pair(0, "put", "not in os.environ")
    assert (pair(0, how), pair(1, how)) == ("not in os.environ", "of B")
    pair(1, "unset")


def test_os_system_gives_the_environment_and_the_status(pair):
    pair(0, "set", "of A")
    pair(1, "set", "of B")
    assert (pair(0, "by_system"), pair(1, "by_system")) == ("same", "same")
    pair(1, "unset")
    assert (pair(0, "by_system"), pair(1, "by_system")) == ("same", "same")
    pair(0, "unset")


def test_an_environment_that_is_given_is_taken(pair):
    pair(0, "set", "of A")
    assert pair(0, "by_given_environment") == "given"
    pair(0, "unset")


def test_os_system_refuses_what_cannot_be_a_command(make_manager):
    manager = make_manager()
    with manager.acquire_session() as session:
        with pytest.raises(deploy.Error, match="ValueError: embedded null byte"):
            session.global_("os", "system")("a\0b")
        with pytest.raises(deploy.Error, match="TypeError"):
            session.global_("os", "system")(7)
        assert session.global_("os", "system")("exit 3").to_value() == 3 << 8
