"""save(environment=...) and verify(environment=...) try the package in exactly that environment: every field of it gets there."""

import dataclasses
import os
import pathlib
import sys

import pytest

import deploy
from deploy._environment import from_plain, to_plain
from deploy.package import VerificationError, save, verify

# A value of each field that is not its default; the test fails when a field is added and has none here.
OTHER = {
    "site_packages": ["/site"],
    "extra_paths": [pathlib.Path("/extra"), b"/more"],
    "private_libraries": ("libmine*",),
    "shared_libraries": ["libours*"],
    "preload": ["json", "decimal"],
    "deferred_imports": True,
    "on_output": print,
    "cache_dir": pathlib.Path("/cache"),
    "allowed_externs": ["numpy", "!subprocess"],
    "memory_limit": 1 << 30,
    "grad_mode": "inference_mode",
    "value_limits": deploy.ValueLimits(depth=7, items=8, bytes=9),
}


def plainly(value):
    return os.fsdecode(value) if isinstance(value, (bytes, os.PathLike)) else value


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(deploy.Environment)])
def test_every_field_arrives_in_another_process(name):
    assert name in OTHER, f"give Environment.{name} a value in OTHER: it shows that the field arrives in the process of verify"
    default = deploy.Environment()
    arrived = from_plain(to_plain(dataclasses.replace(default, **{name: OTHER[name]})), print)
    for field in dataclasses.fields(deploy.Environment):
        expected = OTHER[name] if field.name == name else getattr(default, field.name)
        if isinstance(expected, (list, tuple)):
            expected = [plainly(item) for item in expected]
        assert getattr(arrived, field.name) == plainly(expected), field.name
    assert getattr(arrived, name) != getattr(default, name)


def test_each_field_that_is_a_path_is_told_as_an_absolute_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for field in dataclasses.fields(deploy.Environment):
        if "PathLike" not in str(field.type):
            continue
        is_list = str(field.type).startswith("Sequence")
        plain = to_plain(deploy.Environment(**{field.name: ["here"] if is_list else "here"}))
        assert plain[field.name] == ([str(tmp_path / "here")] if is_list else str(tmp_path / "here")), field.name


def test_what_is_no_environment_is_told_before_anything_is_done(tmp_path, raises):
    for environment in ("/venv", {}, 3):
        with raises(deploy.ErrorCode.INVALID_ARGUMENT) as caught:
            save(tmp_path / "p.pt", 1, environment=environment)
        assert f"found {environment!r}, expected a deploy.Environment or None" in str(caught.value)
    with raises(deploy.ErrorCode.INVALID_ARGUMENT):
        verify(save(tmp_path / "p.pt", 1, verify=False).path, environment="/venv")


# What the example sees of each, in the process of verify.


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Packs a function of own code: project(body, **environment) gives the summary."""
    monkeypatch.syspath_prepend(str(tmp_path))
    number = iter(range(100))

    def pack(body, *args, **environment):
        name = f"seen_{tmp_path.name}_{next(number)}".replace("-", "_")
        (tmp_path / f"{name}.py").write_text("import sys\n\n\ndef function(*args):\n" + "".join(f"    {line}\n" for line in body))
        function = __import__(name).function
        return save(tmp_path / "p.pt", function, example_args=args, environment=deploy.Environment(**environment))

    yield pack
    for name in [name for name in sys.modules if name.startswith("seen_")]:
        del sys.modules[name]


def test_preload_is_there(project):
    import pyclbr  # noqa: F401  # seldom imported; the example is recorded where it is there

    with pytest.raises(VerificationError, match="result is False, recorded was True"):
        project(["return 'pyclbr' in sys.modules"])
    assert project(["return 'pyclbr' in sys.modules"], preload=["pyclbr"]).verified


def test_a_preload_that_fails_is_the_reason(project):
    with pytest.raises(VerificationError, match="no_such_module"):
        project(["return 1"], preload=["no_such_module"])


def test_allowed_externs_hold(project):
    body = ["import subprocess", "return subprocess.PIPE"]
    assert project(body).verified
    with pytest.raises(VerificationError, match="allowed_externs"):
        project(body, allowed_externs=["!subprocess"])


def test_the_memory_limit_holds(project):
    body = ["return len(bytearray(200 << 20))"]
    assert project(body, memory_limit=1 << 30).verified
    with pytest.raises(VerificationError, match="MemoryError"):
        project(body, memory_limit=64 << 20)


def test_value_limits_hold_in_the_process_of_verify(project):
    assert project(["return 1"], value_limits=deploy.ValueLimits(depth=50)).verified


def test_code_is_unpacked_into_the_cache_folder(project, tmp_path):
    assert project(["return 1"], cache_dir=tmp_path / "cache").verified
    assert any((tmp_path / "cache").iterdir())


def test_relative_folders_are_those_of_the_caller(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside").mkdir()
    body = ["import os", "return any(os.path.basename(path) == 'beside' for path in sys.path)"]
    sys.path.append(str(tmp_path / "beside"))
    try:
        assert project(body, extra_paths=["beside"], cache_dir="kept").verified
    finally:
        sys.path.remove(str(tmp_path / "beside"))
    assert (tmp_path / "kept").is_dir()


def test_output_of_the_example_is_the_callers(project):
    lines = []
    body = ["print('once', 'more\\nand', *args)", "print('ä', file=sys.stderr)", "return 1"]
    assert project(body, 5, on_output=lambda *line: lines.append(line)).verified
    assert sorted(line for line in lines if line[2]) == [(0, "stderr", "ä"), (0, "stdout", "and 5"), (0, "stdout", "once more")]


def test_what_the_function_for_output_raises_is_no_failure_of_the_package(project, monkeypatch):
    caught = []
    monkeypatch.setattr(sys, "unraisablehook", caught.append)

    def refuse(*line):
        raise ValueError(line)

    assert project(["print('text')", "return 1"], on_output=refuse).verified
    assert [str(each.exc_value) for each in caught] == ["(0, 'stdout', 'text')"]


def test_a_child_that_the_example_leaves_behind_holds_nothing_up(project):
    body = ["import subprocess", "subprocess.Popen(['sleep', '60'], close_fds=False)", "print('done')", "return 1"]
    lines = []
    assert project(body, on_output=lambda *line: lines.append(line)).verified
    assert (0, "stdout", "done") in lines


def test_deferred_imports_arrive(project, torch):
    site = deploy.Environment.from_running_python().site_packages
    body = ["import torch", "return type(sys.modules['torch.optim']).__name__"]
    with pytest.raises(VerificationError, match="DeferredModule"):
        project(body, deferred_imports=True, site_packages=site)
