"""deploy.package.save: what goes into a package, and that it comes out of it again, in deploy's interpreters and in
torch.package's importer."""

import json
import os
import pathlib
import subprocess
import sys
import warnings
import zipfile

import pytest

import deploy
from deploy.package import PackagingError, save
from deploy.package.guest_check import check
from deploy.package.verification_worker import CHECK, register_check

torch = pytest.importorskip("torch", reason="torch is not in this environment")
PackageImporter = pytest.importorskip("torch.package", reason="torch is not in this environment").PackageImporter

HERE = pathlib.Path(__file__).parent
FIXTURES = HERE / "packing_fixtures"


@pytest.fixture(scope="module", autouse=True)
def fixtures_on_the_path():
    sys.path.insert(0, str(FIXTURES))
    yield
    sys.path.remove(str(FIXTURES))


@pytest.fixture(scope="module")
def odd_models(fixtures_on_the_path):
    import odd_models

    return odd_models


def made(odd_models, name):
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch: what is old in it
        return odd_models.CASES[name]()


def manifest_of(path):
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/.data/deploy/manifest.json"))
        return json.loads(archive.read(name))


def records_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


CASES = [
    "configured",
    "tied",
    "complex_and_quantized",
    "weight_norm",
    "old_weight_norm",
    "dynamically_quantized",
    "graph_module",
    "torchscript",
    "deep",
]


@pytest.mark.parametrize("name", CASES)
def test_what_pickle_stumbles_over_opens_in_plain_torch_package(odd_models, tmp_path, name):
    assert set(CASES) == set(odd_models.CASES)
    model, args = made(odd_models, name)
    path = tmp_path / f"{name}.pt"
    save(path, model, example_args=args, verify=False)
    importer = PackageImporter(str(path))
    loaded = importer.load_pickle("model", "model.pkl")
    inputs = importer.load_pickle("deploy_examples", "0.inputs.pkl")
    outputs = importer.load_pickle("deploy_examples", "0.outputs.pkl")
    assert check(loaded, inputs, outputs, "__call__", 20, None, True)["differences"] == []


def test_what_pickle_stumbles_over_works_in_two_interpreters(odd_models, tmp_path):
    for name in CASES:
        model, args = made(odd_models, name)
        save(tmp_path / f"{name}.pt", model, example_args=args, verify=False)
    with deploy.InterpreterManager(interpreters=2) as manager:
        register_check(manager)
        for name in CASES:
            package = manager.load_package(tmp_path / f"{name}.pt")
            objects = [package.load_pickle("model", "model.pkl")]
            objects += [package.load_pickle("deploy_examples", f"0.{part}.pkl") for part in ("inputs", "outputs")]
            for interpreter in manager.interpreters:
                with interpreter.acquire_session() as session:
                    inside = [session.from_replicated(each) for each in objects]
                    found = session.global_(CHECK, "check")(*inside, "__call__", 20, None, True).to_value()
                    assert found["differences"] == [], name


def test_tied_weights_share_a_record(odd_models, tmp_path):
    model, args = made(odd_models, "tied")
    save(tmp_path / "tied.pt", model, verify=False)
    storages = [name for name in records_of(tmp_path / "tied.pt") if name.endswith(".storage")]
    assert len(storages) == 2  # the embedding, which is the head too, and the buffer of all three views


# What cannot be packed.


class Layer(torch.nn.Module):
    def __init__(self, act):
        super().__init__()
        self.act = act


def test_all_that_cannot_be_pickled_is_told_at_once_with_its_path(tmp_path):
    class Local(torch.nn.Module):
        pass

    def local(x):
        return x

    import functools
    import threading

    model = Layer(None)
    model.layers = torch.nn.ModuleList([Layer(torch.relu), Layer(lambda x: x)])
    model.table = {"norm": [1, local]}
    model.lazy = functools.partial(lambda x: x, 3)
    model.inner = Local()
    model.lock = threading.Lock()
    with pytest.raises(PackagingError) as caught:
        save(tmp_path / "model.pt", model, verify=False)
    told = {problem.where: problem for problem in caught.value.problems}
    assert set(told) == {"model.layers[1].act", "model.table['norm'][1]", "model.lazy.func", "model.inner", "model.lock"}
    assert "is a lambda" in told["model.layers[1].act"].why
    assert f"{__file__}:" in told["model.layers[1].act"].why
    assert "def" in told["model.layers[1].act"].choice
    assert "local function" in told["model.table['norm'][1]"].why
    assert "local class" in told["model.inner"].why
    assert "__getstate__" in told["model.lock"].choice
    assert "5 problems" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "model.pt"
    path.write_text("before")
    with pytest.raises(PackagingError):
        save(path, lambda: 1, verify=False)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["model.pt"]


# `__main__`.

SCRIPT = '''
import sys
import torch
from torch import nn
import deploy.package

WIDTH = 4
print("running", file=sys.stderr)
DEFAULT = torch.full((WIDTH,), 2.0)


def scale(x):
    return x * DEFAULT


class Net(nn.Module):
    """of the script"""

    def forward(self, x):
        return scale(x)


Net.extra = staticmethod(lambda x: x - 1)


class Unused:
    big = list(range(10))


if __name__ == "__main__":
    deploy.package.save(sys.argv[1], Net(), example_args=(torch.ones(WIDTH),))
'''


def test_a_script_packs_its_own_classes_without_running_again(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(deploy.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "train.py", "net.pt"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("running") == 1
    path = tmp_path / "net.pt"
    manifest = manifest_of(path)
    assert manifest["own_modules"] == ["train"]
    assert manifest["callables"][0]["type"] == "train.Net"
    source = records_of(path)["train.py"].decode()
    assert "Unused" not in source and "deploy" not in source and "running" not in source
    lines, script = source.splitlines(), SCRIPT.splitlines()
    assert lines[script.index("class Net(nn.Module):")] == "class Net(nn.Module):"
    assert "Net.extra = staticmethod(lambda x: x - 1)" in lines
    assert torch.equal(PackageImporter(str(path)).load_pickle("model", "model.pkl")(torch.ones(4)), torch.full((4,), 2.0))


# The file.


def test_the_manifest_tells_what_is_inside(odd_models, tmp_path):
    import hashlib

    model, args = made(odd_models, "configured")
    path = tmp_path / "model.pt"
    summary = save(path, model, example_args=args, verify=False)
    manifest, records = manifest_of(path), records_of(path)
    assert manifest["format"] == 1
    assert manifest["python"] == ".".join(map(str, sys.version_info[:3]))
    assert manifest["torch"] == torch.__version__
    assert manifest["callables"] == [
        {
            "package": "model",
            "resource": "model.pkl",
            "type": "odd_models.Configured",
            "signature": [{"name": "x", "kind": "positional_or_keyword", "has_default": False}],
            "method": "__call__",
            "grad_mode": "no_grad",
        }
    ]
    assert manifest["examples"][0]["inputs"] == ["deploy_examples", "0.inputs.pkl"]
    assert {"module": "torch", "distribution": "torch", "version": torch.__version__} in manifest["externs"]
    assert {"module": "math", "distribution": None, "version": None, "stdlib": True} in manifest["externs"]
    assert set(manifest["records"]) == set(records) - {".data/deploy/manifest.json"}
    for name, entry in manifest["records"].items():
        assert entry == {"sha256": hashlib.sha256(records[name]).hexdigest(), "size": len(records[name])}
    assert summary.own_modules == ["odd_models"]
    assert summary.externs["torch"] == torch.__version__


def test_records_are_stored_and_aligned(odd_models, tmp_path):
    model, _ = made(odd_models, "tied")
    path = tmp_path / "model.pt"
    save(path, model, verify=False)
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        for entry in archive.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            file.seek(entry.header_offset)
            header = file.read(30)
            start = entry.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            assert start % 64 == 0, entry.filename
        assert archive.testzip() is None
        assert {name.partition("/")[0] for name in archive.namelist()} == {"model"}


def test_saving_twice_gives_the_same_bytes(odd_models, tmp_path):
    files = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        model, args = made(odd_models, "tied")
        save(folder / "model.pt", model, example_args=args, verify=False)
        files.append((folder / "model.pt").read_bytes())
    assert files[0] == files[1]


def test_an_object_without_torch_has_no_torch_in_it(tmp_path):
    code = (
        "import sys, fractions, deploy.package\n"
        f"deploy.package.save({str(tmp_path / 'plain.pt')!r}, fractions.Fraction(1, 3), verify=False)\n"
        "assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(deploy.__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    manifest = manifest_of(tmp_path / "plain.pt")
    assert manifest["torch"] is None
    assert [extern["module"] for extern in manifest["externs"]] == ["fractions"]
    with deploy.InterpreterManager(environment=deploy.Environment.bare()) as manager:
        third = manager.load_package(tmp_path / "plain.pt").load_pickle("model", "model.pkl")
        assert third.call_method("__float__") == 1 / 3


PARTS = """
from importlib import resources
from .inner import deep
try:
    import not_installed_anywhere
except ImportError:
    pass


class Net:
    def __call__(self, x):
        return deep.FACTOR * x * int((resources.files("own_net") / "config" / "scale.txt").read_text())
"""


def test_own_code_travels_with_its_imports_and_data(tmp_path, monkeypatch):
    project = tmp_path / "project"
    for name, text in {
        "model.py": "from own_net.parts import Net\nfrom own_net import later\n\n\ndef build():\n    return Net(), (2,)\n",
        "own_net/__init__.py": "",
        "own_net/later.py": "import json, own_helper\n\nclass Late:\n    pass\n",
        "own_net/parts.py": PARTS,
        "own_net/inner/__init__.py": "",
        "own_net/inner/deep.py": "FACTOR = 5\n",
        "own_net/unused.py": "raise RuntimeError('not imported')\n",
        "own_net/config/scale.txt": "7",
        "own_net/.hidden": "no",
        "own_helper.py": "VALUE = 1\n",
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(project))
    import model as own_model

    try:
        net, args = own_model.build()
        net.module = own_model  # a module called as the folder of the pickles is
        summary = save(tmp_path / "net.pt", net, example_args=args)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("model", "own_net", "own_helper")]:
            del sys.modules[name]
    assert summary.own_modules == [
        "model",
        "own_helper",
        "own_net",
        "own_net.inner",
        "own_net.inner.deep",
        "own_net.later",
        "own_net.parts",
    ]
    assert summary.verified
    records = records_of(tmp_path / "net.pt")
    assert "own_net/config/scale.txt" in records
    assert "own_net/unused.py" not in records and "own_net/.hidden" not in records
    assert "model/__init__.py" in records
    assert "not_installed_anywhere" not in records[".data/extern_modules"].decode()


LATE = """
class Net:
    def __call__(self, x):
        import json

        from late_used import twice

        return json.dumps(twice(x))


def build():
    import late_unused, not_installed_anywhere

    return Net()
"""


def test_an_import_inside_a_function_counts_if_the_example_gets_there(tmp_path, monkeypatch):
    (tmp_path / "late_net.py").write_text(LATE)
    (tmp_path / "late_used.py").write_text("import torch\n\n\ndef twice(x):\n    return 2 * x\n")
    (tmp_path / "late_unused.py").write_text("import numpy\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import late_net

    try:
        summary = save(tmp_path / "net.pt", late_net.Net(), example_args=(2,), verify=False)
    finally:
        for name in ("late_net", "late_used"):
            sys.modules.pop(name, None)
    assert summary.own_modules == ["late_net", "late_unused", "late_used"]
    assert list(summary.externs) == ["torch"]
