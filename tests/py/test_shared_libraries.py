"""Which C libraries the interpreters and the host have in common, and which each has for itself (D1)."""

import pathlib
import subprocess
import sys
import sysconfig

import pytest

import deploy

FIXTURES = pathlib.Path(__file__).parent / "native_fixtures"


def compile_library(path, source, *flags):
    path.parent.mkdir(parents=True, exist_ok=True)
    include = "-I" + sysconfig.get_path("include")
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-O1",
        "-Wall",
        include,
        str(FIXTURES / source),
        "-o",
        str(path),
        f"-Wl,-soname,{path.name}",
    ]
    subprocess.run([*command, f"-Wl,-soname,{path.name}", *flags], check=True)
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The installed folder of a wheel that auditwheel repaired: an extension module, and what it needs in <name>.libs."""
    site = tmp_path_factory.mktemp("site")
    library = compile_library(site / "callbacks.libs" / "libcallbacks-1234.so", "callbacks.c")
    compile_library(site / "_callbacks.so", "_callbacks_module.c", str(library), "-Wl,-rpath,$ORIGIN/callbacks.libs")
    compile_library(site / "other.libs" / "libgomp-callbacks.so", "callbacks.c")
    return site


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """A library outside of every environment that names nothing it needs."""
    return compile_library(tmp_path_factory.mktemp("elsewhere") / "libcallbacks_user.so", "callbacks_user.c")


def host_program(wheel, text):
    """Runs a program of the host's Python with the wheel's folder on its path: what it prints."""
    program = f"import sys\nsys.path.append({str(wheel)!r})\nWHEEL = {str(wheel)!r}\nimport deploy\n" + text
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


TWO = """
def make():
    manager = deploy.InterpreterManager(1, deploy.Environment(site_packages=[WHEEL]))
    manager.register_module("use", "from _callbacks import call, register\\ndef set(n): register(lambda x: x + n)\\n")
    return manager

def call(manager, name, argument):
    with manager.acquire_session() as session:
        return session.global_("use", name)(argument).to_value()
"""


@pytest.mark.parametrize("beside_the_host", [False, True])
@pytest.mark.parametrize("first_ends_first", [False, True])
def test_callbacks_of_a_wheels_library_are_the_interpreters_own(wheel, beside_the_host, first_ends_first):
    before = "import _callbacks; _callbacks.register(lambda x: x + 1)\n" if beside_the_host else ""
    after = "print(_callbacks.call(0))\n" if beside_the_host else ""
    program = f"""
{before}{TWO}
managers = [make(), make()]
for n, manager in enumerate(managers): call(manager, "set", 10 * (n + 1))
for manager in managers: print(call(manager, "call", 5))
managers.pop({0 if first_ends_first else 1}).close()
print(call(managers[0], "call", 6))
managers.append(make())
call(managers[1], "set", 30)
managers.pop(0).close()
print(call(managers[0], "call", 7))
managers[0].close()
{after}"""
    kept = "26" if first_ends_first else "16"
    assert host_program(wheel, program) == ["15", "25", kept, "37"] + ["1"] * beside_the_host


COUNT = """
def count(**settings):
    with deploy.InterpreterManager(2, deploy.Environment(site_packages=[WHEEL], **settings)) as manager:
        manager.register_module("use", '''{use}''')
        counts = []
        for interpreter in manager.interpreters:
            with interpreter.acquire_session() as session:
                counts.append(session.global_("use", "count")().to_value())
        return counts
"""
BY_IMPORT = "import _callbacks\\ncount = _callbacks.count"
BY_CTYPES = "import ctypes\\ncount = ctypes.CDLL('{path}').callbacks_count"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", "[1, 1]"),
        ("shared_libraries=['libcallbacks*']", "[1, 2]"),
        ("shared_libraries=['libcallbacks*'], private_libraries=['libcallbacks-1234.so']", "[1, 1]"),
        ("shared_libraries=['_callbacks*']", "[1, 1]"),  # an extension module is private whatever is said of it
    ],
)
@pytest.mark.parametrize("use", [BY_IMPORT, BY_CTYPES])
def test_shared_libraries_of_a_wheel_are_named(wheel, settings, expected, use):
    use = use.format(path=wheel / "callbacks.libs" / "libcallbacks-1234.so")
    printed = host_program(wheel, COUNT.format(use=use) + f"print(count({settings}))\n")
    assert " ".join(printed) == expected


def test_run_times_of_openmp_are_one_in_the_process_whoever_brings_them(wheel):
    library = wheel / "other.libs" / "libgomp-callbacks.so"
    host = f"import ctypes\nprint(ctypes.CDLL({str(library)!r}).callbacks_count())\n"
    printed = host_program(wheel, host + COUNT.format(use=BY_CTYPES.format(path=library)) + "print(count())\n")
    assert " ".join(printed) == "1 [2, 3]"


@pytest.mark.parametrize("folder", ["site_packages", "extra_paths"])
def test_both_kinds_of_folders_make_libraries_private(wheel, folder):
    use = BY_CTYPES.format(path=wheel / "callbacks.libs" / "libcallbacks-1234.so")
    program = COUNT.format(use=use).replace("site_packages=", folder + "=")
    assert " ".join(host_program(wheel, program + "print(count())\n")) == "[1, 1]"


def test_a_library_outside_the_environment_is_shared_unless_it_needs_one_inside(wheel, tmp_path):
    alone = compile_library(tmp_path / "libalone.so", "callbacks.c")
    above = compile_library(
        tmp_path / "libabove.so",
        "callbacks_user.c",
        str(wheel / "callbacks.libs" / "libcallbacks-1234.so"),
        f"-Wl,-rpath,{wheel / 'callbacks.libs'}",
    )
    use = BY_CTYPES.format(path=alone)
    assert " ".join(host_program(wheel, COUNT.format(use=use) + "print(count())\n")) == "[1, 2]"
    use = BY_CTYPES.format(path=above).replace("callbacks_count", "user_counts")
    assert " ".join(host_program(wheel, COUNT.format(use=use) + "print(count())\n")) == "[1, 1]"


BY_MODE = """
import ctypes
ctypes.CDLL({library!r}, ctypes.RTLD_GLOBAL)
"""
BY_FLAGS = """
import os, sys
flags = sys.getdlopenflags()
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
import _callbacks
sys.setdlopenflags(flags)
"""
# PyDLL, because the callback is Python code.
CALL_USER = """
import ctypes, _callbacks
library = ctypes.PyDLL({user!r})

def run(n):
    _callbacks.register(lambda x: x + n)
    return library.user_calls(5), library.user_counts()
"""


@pytest.mark.parametrize("opening", [BY_MODE, BY_FLAGS])
def test_a_c_library_finds_symbols_of_a_library_opened_globally(wheel, user, opening):
    library = wheel / "callbacks.libs" / "libcallbacks-1234.so"
    use = opening.format(library=str(library)) + CALL_USER.format(user=str(user))
    with deploy.InterpreterManager(2, deploy.Environment(site_packages=[wheel])) as manager:
        manager.register_module("use", use)
        results = []
        for n, interpreter in enumerate(manager.interpreters):
            with interpreter.acquire_session() as session:
                results.append(session.global_("use", "run")(n * 10).to_value())
        assert results == [(1005, 1), (1015, 1)]


def test_a_library_without_what_it_needs_says_what_is_missing(wheel, user):
    with deploy.InterpreterManager(1, deploy.Environment(site_packages=[wheel])) as manager:
        manager.register_module("use", f"import ctypes\nctypes.CDLL({str(user)!r})\n")
        with manager.acquire_session() as session, pytest.raises(deploy.Error, match="undefined symbol: callbacks_c"):
            session.global_("use", "ctypes")
