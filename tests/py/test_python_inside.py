"""docs/python-inside.md: how the Python of an interpreter differs from a program of its own."""

import concurrent.futures

import pytest

import deploy

LOOPS = """
import asyncio
import threading

def loop_id():
    loop = asyncio.get_event_loop()
    assert not loop.is_closed() and not loop.is_running()
    return id(loop)

def use_loop():
    async def answer():
        await asyncio.sleep(0)
        assert asyncio.get_event_loop() is asyncio.get_running_loop()
        return 42
    return asyncio.get_event_loop().run_until_complete(answer())

def run():
    async def answer():
        return 43
    return asyncio.run(answer())

def run_then_get():
    run()
    try:
        asyncio.get_event_loop()
    except RuntimeError as error:
        return str(error)

def in_thread_of_its_own():
    found = []
    def look():
        try:
            found.append(asyncio.get_event_loop())
        except RuntimeError as error:
            found.append(str(error))
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0]

def main_thread():
    main, current = threading.main_thread(), threading.current_thread()
    return main is current, main.is_alive(), main.name, type(current).__name__, id(current)

def signals():
    import signal
    try:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    except ValueError as error:
        return str(error)
"""


def on_a_new_thread(function):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


@pytest.fixture
def inside(make_manager):
    manager = make_manager()
    manager.register_module("inside", LOOPS)

    def call(name):
        with manager.acquire_session() as session:
            return session.global_("inside", name)().to_value()

    return call


def test_a_call_gets_an_event_loop_which_its_thread_keeps(inside):
    first = inside("loop_id")
    assert inside("use_loop") == 42
    assert inside("loop_id") == first
    assert on_a_new_thread(lambda: inside("use_loop")) == 42


def test_asyncio_run_is_as_ever_and_leaves_no_loop(inside):
    assert on_a_new_thread(lambda: inside("run")) == 43
    assert "There is no current event loop in thread" in on_a_new_thread(lambda: inside("run_then_get"))


def test_a_thread_of_python_code_has_no_loop_as_ever(inside):
    assert "There is no current event loop in thread" in inside("in_thread_of_its_own")


def test_the_main_thread_is_not_the_one_that_calls(inside):
    is_current, is_alive, name, kind, identity = inside("main_thread")
    assert (is_current, is_alive, name, kind) == (False, True, "MainThread", "_DummyThread")
    assert inside("main_thread")[4] == identity
    assert "main thread" in inside("signals")


def test_an_editable_installation_is_found(make_manager, tmp_path):
    site = tmp_path / "env" / "lib" / f"python{deploy.python_version()}" / "site-packages"
    site.mkdir(parents=True)
    source = tmp_path / "project" / "src" / "my_editable"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("def where():\n    return __file__\n")
    (site / "my_editable.pth").write_text(f"{source.parent}\n")
    environment = deploy.Environment.from_venv(tmp_path / "env")
    manager = make_manager(site_packages=environment.site_packages)
    with manager.acquire_session() as session:
        assert session.global_("my_editable", "where")().to_value() == str(source / "__init__.py")


def test_pth_files_of_extra_paths_are_not_read(make_manager, tmp_path):
    (tmp_path / "added").mkdir()
    (tmp_path / "added" / "only_by_pth.py").touch()
    (tmp_path / "added.pth").write_text("added\n")
    manager = make_manager(extra_paths=[tmp_path])
    with manager.acquire_session() as session, pytest.raises(deploy.Error, match="No module named 'only_by_pth'"):
        session.import_module("only_by_pth")
