"""Code that is in no module that could be imported: scripts, and files that others ran; with the data that lies beside it."""

import os
import pathlib
import subprocess
import sys

import packing_projects
import pytest

import deploy
from deploy.package import save
from deploy.package.main_module import slice_of

HOME = str(pathlib.Path(deploy.__file__).parent.parent)


def run_script(folder, text, name="script.py", encoding="utf-8", options=()):
    (folder / name).write_bytes(text.encode(encoding))
    done = subprocess.run(
        [sys.executable, *options, name],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": HOME},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def call(path, *arguments, environment=None):
    with deploy.InterpreterManager(environment=environment or deploy.Environment.bare()) as manager:
        return manager.load_package(path).load_pickle("model", "model.pkl")(*arguments)


PACK = "\nimport deploy.package\ndeploy.package.save('net.pt', Net(), example_args=(1,), verify=False)\n"


def test_a_script_in_latin_1(tmp_path):
    text = (
        "# -*- coding: latin-1 -*-\nWORD = 'gr\u00fc\u00dfe'\n\n\nclass Net:\n    def __call__(self, x):\n        return WORD\n"
        + PACK
    )
    run_script(tmp_path, text, encoding="latin-1")
    assert call(tmp_path / "net.pt", 1) == "gr\u00fc\u00dfe"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1251", "utf-8"])
def test_scripts_in_other_encodings(tmp_path, encoding):
    head = f"# coding: {encoding}\n" if encoding == "cp1251" else ""
    text = head + "\f\nWORD = '\u0436\u0443\u043a'\n\n\nclass Net:\n    def __call__(self, x):\n        return WORD\n" + PACK
    run_script(tmp_path, text, encoding=encoding)
    assert call(tmp_path / "net.pt", 1) == "\u0436\u0443\u043a"


def test_a_module_in_latin_1_goes_in_as_it_is(tmp_path):
    text = "# coding: latin-1\nclass Net:\n    def __call__(self, x):\n        return '\u00fc'\n".encode("latin-1")
    with packing_projects.imported(tmp_path, {"latin_net.py": text}, "latin_net") as module:
        save(tmp_path / "net.pt", module.Net(), example_args=(1,), verify=False)
    assert packing_projects.records_of(tmp_path / "net.pt")["latin_net.py"] == text
    assert call(tmp_path / "net.pt", 1) == "\u00fc"


@pytest.mark.parametrize(
    "line",
    [
        "import json, deploy.package",
        "import deploy.package, json",
        "import deploy.package as packaging, json as json",
        "import deploy.package; import json",
        "import json; from deploy.package import save, verify",
        "from json import dumps as dumps; import json, \\\n  deploy.package",
    ],
)
def test_a_script_imports_deploy_in_the_line_of_what_its_class_needs(tmp_path, line):
    run_script(tmp_path, f"{line}\n\n\nclass Net:\n    def __call__(self, x):\n        return json.dumps([x])\n{PACK}")
    source = packing_projects.records_of(tmp_path / "net.pt")["script.py"].decode()
    assert "deploy" not in source and "import json" in source
    assert call(tmp_path / "net.pt", 1) == "[1]"


def test_slices_of_statements_that_share_lines():
    text = "a = 1; b = 2; c = (3,\n  4); d = a; e = 5  # five\nfrom x import (\n    y,\n    z,\n)\n@d\nclass K: v = z; w = 1\n"
    assert slice_of(text, {"b"}) == "b = 2\n"
    assert slice_of(text, {"c"}) == "c = (3,\n  4)\n"
    assert slice_of(text, {"d"}) == "a = 1\nd = a\n"
    assert slice_of(text, {"a", "c", "e"}) == "a = 1; c = (3,\n  4); e = 5  # five\n"
    assert slice_of(text, {"K"}) == "a = 1\nd = a\n\n\nfrom x import z\n\n@d\nclass K: v = z; w = 1\n"
    assert slice_of("\u00fc = 1; b = '\u00fc'; c = 2\n", {"b"}) == "b = '\u00fc'\n"


def test_conditional_imports_of_a_script(tmp_path):
    text = """
from importlib.util import find_spec
try:
    import nowhere
except ImportError:
    nowhere = None
if find_spec("nowhere"):
    import nowhere as other
else:
    import json as other


class Net:
    def __call__(self, x):
        return nowhere is None, other.dumps(x)
"""
    run_script(tmp_path, text + PACK)
    assert call(tmp_path / "net.pt", 1) == (True, "1")


# Modules that are not in sys.modules.

HUB = {
    "hubconf.py": (
        "dependencies = []\nimport pathlib\nfrom hub_parts import scale\n\n\ndef net():\n    return Net()\n\n\n"
        "class Net:\n    class Inner:\n        pass\n\n    def __init__(self):\n        self.inner = Net.Inner()\n"
        "        self.act = twice\n\n    def __call__(self, x):\n"
        "        return self.act(scale(x)), (pathlib.Path(__file__).parent / 'words' / 'list.txt').read_text()\n\n\n"
        "def twice(x):\n    return 2 * x\n"
    ),
    "hub_parts.py": "def scale(x):\n    return 10 * x\n",
    "words/list.txt": "one two",
    "words/other.txt": "three",
    "weights.bin": "x",
}


def test_a_class_of_a_hubconf(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not in this environment")
    packing_projects.write(tmp_path / "repo", HUB)
    model = torch.hub.load(str(tmp_path / "repo"), "net", source="local")
    try:
        assert "hubconf" not in sys.modules
        summary = save(tmp_path / "net.pt", model, example_args=(1,))
    finally:
        sys.modules.pop("hub_parts", None)
    assert summary.own_modules == ["hub_parts", "hubconf"] and summary.verified
    records = packing_projects.records_of(tmp_path / "net.pt")
    assert "words/list.txt" in records and "words/other.txt" not in records and "weights.bin" not in records
    assert call(tmp_path / "net.pt", 3) == (60, "one two")


def test_two_files_of_one_name_that_were_run(tmp_path):
    import importlib.util

    made = []
    for name in ("a", "b"):
        text = f"import dataclasses\n\n@dataclasses.dataclass\nclass Part:\n    x: int = 1\n\ndef get():\n    return {name!r}\n"
        packing_projects.write(tmp_path / name, {"plugin.py": text})
        spec = importlib.util.spec_from_file_location("plugin", tmp_path / name / "plugin.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["plugin"] = module  # dataclasses looks there
        spec.loader.exec_module(module)
        del sys.modules["plugin"]
        made.append((module.get, module.Part()))
    summary = save(tmp_path / "net.pt", made, example_args=(0,), method="__getitem__", verify=False)
    assert summary.own_modules == ["plugin", "plugin_2"]
    with deploy.InterpreterManager(environment=deploy.Environment.bare()) as manager:
        inside = manager.load_package(tmp_path / "net.pt").load_pickle("model", "model.pkl")
        with inside.acquire_session() as session:
            session.from_replicated(inside)
            assert [session.global_(name, "get")().to_value() for name in ("plugin", "plugin_2")] == ["a", "b"]


def test_a_module_that_was_made_from_a_file_under_a_name_with_dots(tmp_path):
    import importlib.util

    packing_projects.write(tmp_path, {"code.py": "class Net:\n    def __call__(self, x):\n        return x\n"})
    spec = importlib.util.spec_from_file_location("made_of.parts.net", tmp_path / "code.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["made_of.parts.net"] = module
    try:
        spec.loader.exec_module(module)
        summary = save(tmp_path / "net.pt", module.Net(), example_args=(1,), verify=False)
    finally:
        del sys.modules["made_of.parts.net"]
    assert summary.own_modules == ["made_of.parts.net"]
    assert call(tmp_path / "net.pt", 4) == 4


# torch that the example imports first.


def test_torch_may_be_imported_first_while_the_example_runs(tmp_path):
    pytest.importorskip("torch", reason="torch is not in this environment")
    text = """
import sys


class Net:
    def __call__(self, x):
        import torch

        self.kept = torch.ones(2)
        return torch.rand(2) * x, {"y": torch.randn(1)}


assert "torch" not in sys.modules
import deploy.package

net = Net()
summary = deploy.package.save("net.pt", net, example_args=(2,))
assert summary.verified and "torch" in sys.modules and not hasattr(net, "kept")
print(sorted(summary.externs))
"""
    assert run_script(tmp_path, text).strip() == "['torch']"


# Data beside code.


def test_data_beside_own_code_in_a_folder_without_init(tmp_path):
    net = (
        "import pathlib\nHERE = pathlib.Path(__file__).parent\n\n\nclass Net:\n    def __call__(self, x):\n"
        "        return (HERE / 'vocab.txt').read_text() + (HERE / 'deep' / 'more.txt').read_text()\n"
    )
    files = {"plain_ns/net.py": net, "plain_ns/vocab.txt": "a b", "plain_ns/deep/more.txt": "c", "plain_ns/.hidden": "no"}
    with packing_projects.imported(tmp_path, {**files, "elsewhere.txt": "no"}, "plain_ns.net") as module:
        summary = save(tmp_path / "net.pt", module.Net(), example_args=(1,))
    assert summary.own_modules == ["plain_ns.net"] and summary.verified
    records = packing_projects.records_of(tmp_path / "net.pt")
    assert "plain_ns/deep/more.txt" in records and "plain_ns/.hidden" not in records and "elsewhere.txt" not in records


NAMES_DATA = """
import os.path
import json

TABLE = json.load(open(os.path.join(os.path.dirname(__file__), "assets", "table.json")))
FOLDER = f"{os.path.dirname(__file__)}/lists"


class Net:
    def __call__(self, x):
        names = sorted(os.listdir(FOLDER))
        return TABLE["a"], names
"""


def test_a_single_module_takes_the_files_that_it_names(tmp_path):
    files = {
        "names_data.py": NAMES_DATA,
        "assets/table.json": '{"a": 1}',
        "assets/unused.json": "{}",
        "lists/one.txt": "1",
        "lists/two.txt": "2",
        "private.key": "secret",
        "train.csv": "rows",
    }
    with packing_projects.imported(tmp_path / "own", files, "names_data") as module:
        assert save(tmp_path / "net.pt", module.Net(), example_args=(1,)).verified
    records = set(packing_projects.records_of(tmp_path / "net.pt"))
    assert {"assets/table.json", "lists/one.txt", "lists/two.txt"} <= records
    assert not {"assets/unused.json", "private.key", "train.csv"} & records


def test_a_module_that_reads_nothing_beside_itself_takes_nothing(tmp_path):
    files = {"names_some.py": "PATH = 'train.csv'\n\n\nclass Net:\n    pass\n", "train.csv": "rows"}
    with packing_projects.imported(tmp_path / "own", files, "names_some") as module:
        save(tmp_path / "net.pt", module.Net(), verify=False)
    assert "train.csv" not in packing_projects.records_of(tmp_path / "net.pt")


def test_a_named_folder_that_is_too_large_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("deploy.package.own_data.LIMIT", 1 << 20)
    files = {"big_data.py": "HERE = __file__\nDATA = 'images'\n\n\nclass Net:\n    pass\n"}
    files |= {f"images/{number}.raw": bytes(600 << 10) for number in range(2)}
    with packing_projects.imported(tmp_path / "own", files, "big_data") as module:
        summary = save(tmp_path / "net.pt", module.Net(), verify=False)
    assert [note for note in summary.notes if "images is left out: it has more than 1 MiB" in note]
