"""Which distributions deploy.package.save puts into a package, and what it says of those that cannot be there."""

import importlib
import json
import pathlib
import sys
import sysconfig
import zipfile

import pytest

import deploy
from deploy.package import PackagingError, VerificationError, save, verify

EXTENSION = sysconfig.get_config_var("EXT_SUFFIX")


def install(site, name, version, files, *, requires=(), record=True, direct_url=None):
    """A distribution as pip leaves it."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    files = {**files, f"{info}/METADATA": metadata}
    if direct_url:
        files[f"{info}/direct_url.json"] = json.dumps(direct_url)
    if record:
        files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD", "../../../bin/tool"])
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A site-packages folder with: pure-lib, which needs helper-lib, reads a file beside itself and asks for its own version;
    native-lib."""
    site = tmp_path / "site"
    install(
        site,
        "pure-lib",
        "1.2.3",
        {
            "pure_lib/__init__.py": (
                "import importlib.metadata, pathlib\nimport helper_lib\n\n\nclass Model:\n    def __call__(self, x):\n"
                "        text = (pathlib.Path(__file__).parent / 'data' / 'scale.txt').read_text()\n"
                "        from pure_lib import hidden\n"
                "        return helper_lib.twice(x) * int(text), importlib.metadata.version('pure-lib'), hidden.NAME\n"
            ),
            "pure_lib/hidden.py": "import importlib\nNAME = importlib.import_module('pure_lib.' + 'more').__name__\n",
            "pure_lib/more.py": "try:\n    import native_lib\nexcept ImportError:\n    pass\n",
            "pure_lib/data/scale.txt": "3",
            "pure_lib/__pycache__/x.pyc": "",
        },
        requires=["helper-lib >= 1 ; python_version > '3'", "native-lib ; extra == 'fast'", "absent-lib"],
    )
    install(site, "helper-lib", "2.0", {"helper_lib.py": "def twice(x):\n    return 2 * x\n"})
    install(
        site,
        "native-lib",
        "3.0",
        {"native_lib/__init__.py": "class Thing:\n    pass\n", f"native_lib/_fast{EXTENSION}": "", "native_lib/b.so.3": ""},
    )
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield site
    for name in [
        n for n in sys.modules if n.partition(".")[0] in ("pure_lib", "helper_lib", "native_lib", "bare_lib", "edited", "spaced")
    ]:
        del sys.modules[name]


@pytest.fixture
def environment(site):
    return deploy.Environment(site_packages=[str(site)])


def manifest_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("p/.data/deploy/manifest.json"))


def records_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2] for name in archive.namelist()}


def pure_model():
    return importlib.import_module("pure_lib").Model()


def test_distributions_are_extern_by_default(site, environment, tmp_path):
    summary = save(tmp_path / "p.pt", pure_model(), example_args=(2,), environment=environment)
    assert summary.verified and summary.interned == {}
    assert summary.externs == {"pure-lib": "1.2.3"}
    assert manifest_of(tmp_path / "p.pt")["externs"] == [{"module": "pure_lib", "distribution": "pure-lib", "version": "1.2.3"}]


def test_an_interned_distribution_travels_whole_without_scripts_and_byte_code(site, environment, tmp_path):
    summary = save(tmp_path / "p.pt", pure_model(), example_args=(2,), intern=["pure-lib"], verify=False)
    assert {name for name in records_of(tmp_path / "p.pt") if name.startswith("pure_lib")} == {
        "pure_lib/__init__.py",
        "pure_lib/hidden.py",
        "pure_lib/more.py",
        "pure_lib/data/scale.txt",
        "pure_lib-1.2.3.dist-info/METADATA",
        "pure_lib-1.2.3.dist-info/RECORD",
    }
    assert summary.interned == {"pure-lib": "1.2.3"}
    # What its metadata requires and its code imports; not what only an extra does, nor what is not installed.
    assert summary.externs == {"helper-lib": "2.0"}
    assert manifest_of(tmp_path / "p.pt")["interned"] == [
        {"distribution": "pure-lib", "version": "1.2.3", "modules": ["pure_lib"], "reason": "intern pattern 'pure-lib'"}
    ]


@pytest.mark.parametrize("pattern", ["pure_lib", "pure_lib.**", "Pure.Lib", "pure*"])
def test_a_distribution_is_named_by_itself_or_by_its_modules(site, tmp_path, pattern):
    assert save(tmp_path / "p.pt", pure_model(), intern=[pattern], verify=False).interned == {"pure-lib": "1.2.3"}


def test_a_star_interns_what_can_be_and_extern_wins_where_it_names(site, tmp_path):
    thing = importlib.import_module("native_lib").Thing()
    summary = save(tmp_path / "p.pt", [pure_model(), thing], intern=["**"], verify=False)
    assert summary.interned == {"pure-lib": "1.2.3", "helper-lib": "2.0"}
    assert summary.externs == {"native-lib": "3.0"}
    summary = save(tmp_path / "p.pt", pure_model(), intern=["*"], extern=["helper_lib"], verify=False)
    assert summary.interned == {"pure-lib": "1.2.3"}
    assert summary.externs == {"helper-lib": "2.0"}


def test_all_problems_come_at_once_with_what_would_work(site, tmp_path):
    importlib.import_module("native_lib")
    with pytest.raises(PackagingError) as caught:
        save(tmp_path / "p.pt", {"a": pure_model(), "act": lambda x: x}, intern=["native-lib", "pure_libb"], verify=False)
    problems = {problem.where: problem for problem in caught.value.problems}
    assert set(problems) == {"model['act']", "native-lib", "intern='pure_libb'"}
    assert f"native_lib/_fast{EXTENSION}" in problems["native-lib"].why
    assert "take 'native-lib' out of `intern`" in problems["native-lib"].choice
    assert "pure-lib" in problems["intern='pure_libb'"].why


def test_one_pattern_is_no_list_of_patterns(tmp_path):
    with pytest.raises(TypeError, match=r"intern=\['pure_lib'\]"):
        save(tmp_path / "p.pt", 1, intern="pure_lib")


def test_an_installation_without_a_record_travels_by_its_folder(site, tmp_path):
    files = {"bare_lib/__init__.py": "class Model:\n    pass\n", "bare_lib/data.json": "{}", "bare_lib/sub/__init__.py": ""}
    install(site, "bare-lib", "0.1", files, record=False)
    model = importlib.import_module("bare_lib").Model()
    summary = save(tmp_path / "p.pt", model, intern=["bare-lib"], verify=False)
    assert summary.interned == {"bare-lib": "0.1"}
    assert {
        "bare_lib/__init__.py",
        "bare_lib/data.json",
        "bare_lib/sub/__init__.py",
        "bare_lib-0.1.dist-info/METADATA",
    } <= records_of(tmp_path / "p.pt")


def test_an_editable_installation_is_own_code_and_travels_whole(site, tmp_path, monkeypatch):
    source = tmp_path / "checkout" / "src"
    (source / "edited").mkdir(parents=True)
    (source / "edited" / "__init__.py").write_text("class Model:\n    def __call__(self):\n        return 'edited'\n")
    (source / "edited" / "other.py").write_text("")
    url = {"url": (tmp_path / "checkout").as_uri(), "dir_info": {"editable": True}}
    install(site, "edited", "0.2", {"__editable__.edited-0.2.pth": str(source)}, direct_url=url)
    monkeypatch.syspath_prepend(str(source))
    model = importlib.import_module("edited").Model()
    bare = deploy.Environment.bare()
    summary = save(tmp_path / "p.pt", model, example_args=(), environment=bare)
    assert summary.interned == {"edited": "0.2"} and summary.verified
    assert {"edited/__init__.py", "edited/other.py", "edited-0.2.dist-info/METADATA"} <= records_of(tmp_path / "p.pt")
    assert not any(name.endswith((".pth", "direct_url.json")) for name in records_of(tmp_path / "p.pt"))
    extern = save(tmp_path / "p.pt", model, example_args=(), extern=["edited"], environment=bare)
    assert extern.externs == {"edited": "0.2"} and extern.verified


def test_distributions_that_share_a_namespace_package_are_kept_apart(site, tmp_path):
    install(site, "spaced-one", "1.0", {"spaced/one.py": "class Model:\n    pass\n"})
    install(site, "spaced-two", "2.0", {"spaced/two.py": "class Model:\n    pass\n"})
    models = [importlib.import_module(f"spaced.{name}").Model() for name in ("one", "two")]
    summary = save(tmp_path / "p.pt", models, intern=["spaced-one"], verify=False)
    assert summary.interned == {"spaced-one": "1.0"}
    assert summary.externs == {"spaced-two": "2.0"}
    assert [entry["module"] for entry in manifest_of(tmp_path / "p.pt")["externs"]] == ["spaced.two"]
    assert "spaced/two.py" not in records_of(tmp_path / "p.pt")


# Verification.


def test_verification_hides_the_interned_distribution_and_nothing_else(site, environment, tmp_path):
    from deploy.package import shadow

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (folder,) = shadow.without([str(site)], ["pure_lib"], scratch)
    left = {path.name for path in pathlib.Path(folder).iterdir()}
    assert left == {"helper_lib.py", "helper_lib-2.0.dist-info", "native_lib", "native_lib-3.0.dist-info"}
    assert shadow.without([str(site)], ["other"], scratch) == [str(site)]


def test_verification_finds_a_result_that_differs(site, environment, tmp_path):
    save(tmp_path / "p.pt", pure_model(), example_args=(2,), environment=environment)
    assert verify(tmp_path / "p.pt", environment=environment, interpreters=2).exact
    (site / "helper_lib.py").write_text("def twice(x):\n    return 2.5 * x\n")
    with pytest.raises(VerificationError) as caught:
        verify(tmp_path / "p.pt", environment=environment)
    assert "result[0] is a float, recorded was a int" in str(caught.value)


def test_verification_names_what_the_environment_lacks(site, environment, tmp_path):
    save(tmp_path / "p.pt", pure_model(), example_args=(2,), environment=environment)
    with pytest.raises(VerificationError, match="pure_lib"):
        verify(tmp_path / "p.pt", environment=deploy.Environment.bare())
    with pytest.raises(VerificationError, match="pure_lib"):
        save(tmp_path / "q.pt", pure_model(), example_args=(2,), environment=deploy.Environment.bare())
    assert not (tmp_path / "q.pt").exists()


def test_a_tolerance_is_for_numbers_only_and_is_told(site, environment, tmp_path):
    (site / "helper_lib.py").write_text("import time\n\n\ndef twice(x):\n    return 2 * x + (time.time() % 1) * 1e-9\n")
    with pytest.raises(VerificationError, match="give a `tolerance`"):
        save(tmp_path / "p.pt", pure_model(), example_args=(2.0,), environment=environment)
    save(tmp_path / "p.pt", pure_model(), example_args=(2.0,), environment=environment, tolerance=1e-6)
    found = verify(tmp_path / "p.pt", environment=environment)
    assert not found.exact and 0 < found.largest < 1e-7


def test_results_are_compared_by_kind(torch):
    import numpy

    from deploy.package.guest_check import check

    def differences(found, expected, tolerance=None):
        return check(lambda: found, ((), {}), expected, "__call__", 0, tolerance, True)["differences"]

    nan = float("nan")
    for same in (torch.tensor([1.0, nan]), numpy.array(["a", "b"]), numpy.array([1, None]), {"a": [1, (2.0, nan)]}, b"x", {1, 2}):
        assert differences(same, same) == []
    assert differences(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5])) == ["result: 1 of 2 elements differ, by up to 0.5"]
    assert differences(torch.tensor([1.0]), torch.tensor([1.0 + 1e-7]), tolerance=1e-6) == []
    assert differences(torch.tensor([1.0]), torch.tensor([nan]), tolerance=1.0) != []
    assert differences(torch.tensor([1]), torch.tensor([1.0])) == ["result is torch.int64 (1,), recorded was torch.float32 (1,)"]
    assert differences(numpy.array([1.0, 2.0]), numpy.array([[1.0, 2.0]])) != []
    assert differences({"a": 1}, {"b": 1}) == ["result has the keys ['a'], recorded were ['b']"]
    assert differences([1, 2], [1]) == ["result has 2 elements, recorded were 1"]
    assert differences([1, "x"], [1, "y"]) == ["result[1] is 'x', recorded was 'y'"]
    assert differences(1.0, 1.5) == ["result is 1.0, recorded was 1.5"]
    assert differences(True, 1) == ["result is a bool, recorded was a int"]


# What of a distribution's files is a part of it.


def test_checkpoints_that_end_in_pth_travel_and_path_files_do_not(site, tmp_path):
    install(
        site,
        "bare-lib",
        "1.0",
        {
            "bare_lib/__init__.py": (
                "import pathlib\n\n\nclass Model:\n    def __call__(self):\n        folder = pathlib.Path(__file__).parent\n"
                "        return [(folder / name).read_text() for name in ('full.pth', 'assets/tiny.pth', 'node_modules/a.js')]\n"
            ),
            "bare_lib/full.pth": "import os\n",
            "bare_lib/assets/tiny.pth": "weights",
            "bare_lib/node_modules/a.js": "script",
            "bare_lib-nspkg.pth": "import sys\n",
        },
    )
    model = importlib.import_module("bare_lib").Model()
    environment = deploy.Environment(site_packages=[str(site)])
    summary = save(tmp_path / "p.pt", model, example_args=(), intern=["bare-lib"], environment=environment)
    assert summary.verified
    records = records_of(tmp_path / "p.pt")
    assert {"bare_lib/full.pth", "bare_lib/assets/tiny.pth", "bare_lib/node_modules/a.js"} <= records
    assert "bare_lib-nspkg.pth" not in records


def test_checkpoints_of_installations_without_a_record_and_of_own_code_travel(site, tmp_path, monkeypatch):
    reads = "import pathlib\n\n\nclass Model:\n    def __call__(self):\n"
    reads += "        return (pathlib.Path(__file__).parent / 'w.pth').read_text()\n"
    install(site, "bare-lib", "1.0", {"bare_lib/__init__.py": reads, "bare_lib/w.pth": "weights"}, record=False)
    environment = deploy.Environment(site_packages=[str(site)])
    model = importlib.import_module("bare_lib").Model()
    assert save(tmp_path / "p.pt", model, example_args=(), intern=["bare-lib"], environment=environment).verified
    (tmp_path / "mine" / "edited").mkdir(parents=True)
    (tmp_path / "mine" / "edited" / "__init__.py").write_text(reads)
    (tmp_path / "mine" / "edited" / "w.pth").write_text("own weights")
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    own = importlib.import_module("edited").Model()
    assert save(tmp_path / "q.pt", own, example_args=(), environment=environment).verified
    assert "edited/w.pth" in {name.partition("/")[2] for name in zipfile.ZipFile(tmp_path / "q.pt").namelist()}


def test_byte_code_travels_where_there_is_no_source(site, tmp_path):
    import py_compile

    install(site, "bare-lib", "1.0", {"bare_lib/__init__.py": "from bare_lib.shut import Model\n", "bare_lib/shut.pyc": ""})
    source = tmp_path / "shut.py"
    source.write_text("class Model:\n    def __call__(self):\n        return 'shut'\n")
    py_compile.compile(str(source), cfile=str(site / "bare_lib" / "shut.pyc"), doraise=True)
    model = importlib.import_module("bare_lib").Model()
    environment = deploy.Environment(site_packages=[str(site)])
    assert save(tmp_path / "p.pt", model, example_args=(), intern=["bare-lib"], environment=environment).verified
    assert "bare_lib/shut.pyc" in records_of(tmp_path / "p.pt")


# The Python part of a distribution with extension modules.

PART = """
try:
    from native_lib import _fast
except ImportError:
    _fast = None


class Thing:
    def __call__(self, x):
        return 2 * x

    def fast(self, x):
        import native_lib._fast

        return x
"""


@pytest.fixture
def native(site):
    (site / "native_lib" / "__init__.py").write_text(PART)
    return importlib.import_module("native_lib").Thing()


@pytest.mark.parametrize("pattern", ["native-lib", "native_lib", "nativ*"])
def test_the_python_part_of_a_distribution_goes_in_where_that_is_asked_for(site, environment, native, tmp_path, pattern):
    summary = save(tmp_path / "p.pt", native, example_args=(2,), intern_python=[pattern], environment=environment)
    assert summary.verified and summary.interned == {"native-lib": "3.0"} and summary.externs == {}
    files = [f"native_lib/_fast{EXTENSION}", "native_lib/b.so.3"]
    assert any(f"without its extension modules and libraries (2 files: {files[0]})" in note for note in summary.notes)
    assert {name for name in records_of(tmp_path / "p.pt") if name.startswith("native_lib/")} == {"native_lib/__init__.py"}
    (entry,) = manifest_of(tmp_path / "p.pt")["interned"]
    assert entry["left_out"] == files and entry["reason"] == f"intern_python pattern {pattern!r}"
    assert f"without 2 of its files ({files[0]})" in str(deploy.package.inspect(tmp_path / "p.pt"))
    # Where the distribution is installed, the package's own part is what is imported.
    assert deploy.package.run(tmp_path / "p.pt", [4], environment=environment) == "8"


def test_a_model_that_needs_the_extension_modules_after_all_does_not_verify(site, environment, native, tmp_path, monkeypatch):
    monkeypatch.setattr(type(native), "fast", lambda self, x: x)  # as if the extension module were there
    with pytest.raises(VerificationError) as caught:
        save(tmp_path / "p.pt", native, method="fast", intern_python=["native-lib"], example_args=(2,), environment=environment)
    assert "No module named 'native_lib._fast'" in str(caught.value)
    assert "native-lib went in without extension modules (intern_python)" in str(caught.value)
    assert not (tmp_path / "p.pt").exists()


def test_the_refusal_to_intern_extension_modules_names_the_option(site, native, tmp_path):
    with pytest.raises(PackagingError) as caught:
        save(tmp_path / "p.pt", native, intern=["native-lib"], verify=False)
    assert "intern_python=['native-lib'] takes all but these" in str(caught.value)


def test_an_extern_pattern_that_names_it_wins_and_pure_distributions_go_in_whole(site, native, tmp_path):
    summary = save(tmp_path / "p.pt", native, intern_python=["*"], extern=["native-lib"], verify=False)
    assert summary.externs == {"native-lib": "3.0"}
    summary = save(tmp_path / "p.pt", pure_model(), intern_python=["pure-lib"], verify=False)
    assert summary.interned == {"pure-lib": "1.2.3"} and not any("without its extension" in note for note in summary.notes)


def test_what_intern_python_names_has_to_be_there(site, native, tmp_path):
    with pytest.raises(PackagingError, match="nativelib"):
        save(tmp_path / "p.pt", native, intern_python=["nativelib"], verify=False)
    with pytest.raises(TypeError, match=r"intern_python=\['native_lib'\]"):
        save(tmp_path / "p.pt", native, intern_python="native_lib")
