"""What an Environment names is what the interpreters see, and a wrong one is refused."""

import site
import sys
import sysconfig
import types
import venv

import deploy


def test_the_default_is_the_running_pythons_packages():
    environment = deploy.Environment.from_running_python()
    assert sysconfig.get_path("purelib") in environment.site_packages
    assert environment.preload == []


def test_another_python_version_is_refused(monkeypatch, raises):
    old = types.SimpleNamespace(version_info=types.SimpleNamespace(major=3, minor=8), executable="python3.8")
    monkeypatch.setattr(deploy._environment, "sys", old)
    with raises(deploy.ErrorCode.ENVIRONMENT) as caught:
        deploy.InterpreterManager()
    assert "3.8" in caught.value.message
    assert deploy.python_version() in caught.value.message


def test_from_venv_finds_the_packages():
    environment = deploy.Environment.from_venv(sys.prefix)
    assert environment.site_packages == [path for path in site.getsitepackages() if path.startswith(sys.prefix)][:1]


def test_a_folder_that_is_no_venv_is_refused(tmp_path, raises):
    with raises(deploy.ErrorCode.ENVIRONMENT) as caught:
        deploy.Environment.from_venv(tmp_path)
    assert str(tmp_path) in caught.value.message


def test_a_venv_made_now_is_found(tmp_path):
    venv.create(tmp_path / "v", with_pip=False)
    assert deploy.Environment.from_venv(tmp_path / "v").site_packages[0].startswith(str(tmp_path))


def test_a_missing_folder_is_refused(tmp_path, raises):
    missing = tmp_path / "missing"
    with raises(deploy.ErrorCode.ENVIRONMENT) as caught:
        deploy.InterpreterManager(environment=deploy.Environment(site_packages=[missing]))
    assert str(missing) in caught.value.message


def test_packages_of_another_python_version_are_refused(tmp_path, raises):
    folder = tmp_path / "lib" / "python3.9" / "site-packages"
    folder.mkdir(parents=True)
    (folder / "_thing.cpython-39-x86_64-linux-gnu.so").write_bytes(b"")
    with raises(deploy.ErrorCode.ENVIRONMENT) as caught:
        deploy.InterpreterManager(environment=deploy.Environment(site_packages=[folder]))
    assert "3.9" in caught.value.message
    assert deploy.python_version() in caught.value.message


def test_extra_paths_come_before_site_packages(tmp_path):
    for name in ("extra", "packages"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "whence.py").write_text(f"where = {name!r}\n")
    environment = deploy.Environment(site_packages=[tmp_path / "packages"], extra_paths=[tmp_path / "extra"])
    with deploy.InterpreterManager(environment=environment) as manager, manager.acquire_session() as session:
        assert session.global_("whence", "where").to_value() == "extra"


def test_preloaded_modules_are_imported_at_boot(raises):
    environment = deploy.Environment(preload=["json", "decimal"])
    with deploy.InterpreterManager(environment=environment) as manager, manager.acquire_session() as session:
        loaded = session.global_("builtins", "set")(session.global_("sys", "modules"))
        assert loaded.call_method("issuperset", ["json", "decimal"]).to_value() is True
    with raises(deploy.ErrorCode.PYTHON) as caught:
        deploy.InterpreterManager(environment=deploy.Environment(preload=["no_such_module"]))
    assert "no_such_module" in caught.value.message


def test_a_bare_environment_has_the_standard_library_only(bare_manager, raises):
    with bare_manager.acquire_session() as session:
        assert session.global_("json", "dumps")({"a": [1]}).to_value() == '{"a": [1]}'
        with raises(deploy.ErrorCode.PYTHON) as caught:
            session.import_module("torch")
        assert caught.value.python_type == "ModuleNotFoundError"


def test_an_environment_that_is_none_is_refused(raises):
    with raises(deploy.ErrorCode.INVALID_ARGUMENT) as caught:
        deploy.InterpreterManager(environment="/somewhere")
    assert "/somewhere" in caught.value.message
