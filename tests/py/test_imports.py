"""Third-party packages, unchanged, in two interpreters of one process that has imported them itself."""

import pathlib
import subprocess
import sys

import numpy
import pytest
from conftest import in_each_interpreter

import deploy


@pytest.fixture(scope="module")
def run(manager):
    """run(name, source) executes source's function run() in both interpreters at once, and returns both results."""

    def run(name, source, *args):
        manager.register_module(name, source)
        return in_each_interpreter(manager, lambda session: session.global_(name, "run")(*args).to_value())

    return run


def test_the_host_keeps_its_own_numpy_and_torch(run, torch):
    results = run("ids", "import numpy, torch\ndef run():\n    return id(numpy), id(torch), numpy.__version__, torch.__version__\n")
    assert len({*[r[1] for r in results], id(torch)}) == 3
    assert [r[2:] for r in results] == [(numpy.__version__, torch.__version__)] * 2


@pytest.mark.parametrize(
    "name", ["numpy", "yaml", "tokenizers", "transformers", "safetensors", "regex", "pydantic", "torch.distributed"]
)
def test_a_package_imports_in_two_interpreters_at_once(manager, name):
    pytest.importorskip(name.partition(".")[0], reason=f"{name} is not in this environment")
    assert in_each_interpreter(manager, lambda session: session.import_module(name).attr("__name__").to_value()) == [name] * 2


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_the_version_is_that_of_the_environment(manager, name):
    here = pytest.importorskip(name, reason=f"{name} is not in this environment").__version__
    assert in_each_interpreter(manager, lambda s: s.global_("importlib.metadata", "version")(name).to_value()) == [here] * 2


USES = pathlib.Path(__file__).parent.parent / "environment" / "uses.py"


@pytest.mark.parametrize("name", ["numpy", "torch", "tokenizers", "safetensors", "regex"])
def test_a_package_gives_the_same_result_in_two_interpreters_at_once_and_in_the_host(run, name):
    """The packages of ./dev environment that are installed here anyway."""
    pytest.importorskip(name, reason=f"{name} is not in this environment")
    scope = {}
    exec(USES.read_text(), scope)
    source = f"{USES.read_text()}\n\ndef run():\n    return repr(use_{name}())\n"
    assert run(f"environment_use_{name}", source) == [repr(scope[f"use_{name}"]())] * 2


def test_numpy_computes(run):
    source = "import numpy\ndef run():\n    return numpy.linalg.solve(numpy.eye(3) * 2, numpy.ones(3))\n"
    for result in run("solve", source):
        assert numpy.array_equal(numpy.from_dlpack(result), numpy.full(3, 0.5))


def test_yaml_uses_its_c_library(run):
    source = "import yaml\ndef run():\n    return yaml.load('a: [1, 2]', Loader=yaml.CSafeLoader)\n"
    assert run("use_yaml", source) == [{"a": [1, 2]}] * 2


TOKENIZE = """
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

def run():
    tokenizer = Tokenizer(models.BPE(unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(special_tokens=["?"], vocab_size=60, show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat"] * 3, trainer)
    return tokenizer.encode("the cat").tokens
"""


def test_tokenizers_train_and_encode(run):
    assert run("use_tokenizers", TOKENIZE) == [["the", "cat"]] * 2


BERT = """
import torch, transformers

def run(ids, mask):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    small = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=100)
    config = transformers.BertConfig(**small)
    with torch.no_grad():
        return transformers.BertModel(config).eval()(input_ids=ids, attention_mask=mask)
"""


def test_a_hugging_face_model_runs_and_its_output_is_a_dict(run, torch):
    ids = torch.arange(12).reshape(2, 6)
    one, two = run("bert", BERT, ids, torch.ones_like(ids))
    assert list(one) == ["last_hidden_state", "pooler_output"]
    assert one["last_hidden_state"].shape == (2, 6, 32)
    assert torch.equal(torch.from_dlpack(one["last_hidden_state"]), torch.from_dlpack(two["last_hidden_state"]))


RESNET = """
import torch, transformers

def model():
    torch.manual_seed(0)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
    return transformers.ResNetForImageClassification(config).eval()

def run(x):
    torch.set_num_threads(1)
    with torch.no_grad():
        return model()(x).logits
"""


def test_a_resnet_equals_the_reference(run, torch):
    x = torch.randn(1, 3, 64, 64)
    scope = {}
    exec(RESNET, scope)
    threads = torch.get_num_threads()
    reference = scope["run"](x)
    torch.set_num_threads(threads)
    for result in run("resnet", RESNET, x):
        assert torch.equal(torch.from_dlpack(result), reference)


BACKWARD = """
import torch

def run(x):
    weight = torch.full((3, 3), 2.0, requires_grad=True)
    for _ in range(20):
        loss = (x @ weight).sum()
        loss.backward()
    return weight.grad
"""


def test_autograd_runs_backward_in_two_interpreters_at_once(run, torch):
    for result in run("backward", BACKWARD, torch.ones(3, 3)):
        assert torch.equal(torch.from_dlpack(result), torch.full((3, 3), 60.0))


CUSTOM_OP = """
import os
import torch

@torch.library.custom_op("deploy_test::where_am_i", mutates_args=())
def where_am_i(x: torch.Tensor) -> torch.Tensor:
    return x + id(where_am_i) % 2 * 0 + 1

def run(x):
    return torch.ops.deploy_test.where_am_i(x)
"""


def test_each_interpreter_registers_a_custom_op_of_the_same_name(run, torch):
    for result in run("custom_op", CUSTOM_OP, torch.zeros(2)):
        assert torch.equal(torch.from_dlpack(result), torch.ones(2))


@pytest.fixture(scope="module")
def op_library(tmp_path_factory, torch):
    """A shared library that registers an op with PyTorch, built against this environment's libtorch."""
    library = tmp_path_factory.mktemp("native") / "libcounting_op.so"
    root = pathlib.Path(torch.__file__).parent
    source = pathlib.Path(__file__).parent / "native_fixtures" / "counting_op.cpp"
    command = [
        "g++",
        "-std=c++20",
        "-shared",
        "-fPIC",
        f"-I{root}/include",
        f"-I{root}/include/torch/csrc/api/include",
        str(source),
    ]
    subprocess.run([*command, "-o", str(library), f"-L{root}/lib", "-ltorch", "-ltorch_cpu", "-lc10"], check=True)
    return library


def test_torch_loads_an_op_library_once_in_each_interpreter(manager, op_library, torch):
    manager.register_module(
        "use_op",
        f"import torch\ntorch.ops.load_library({str(op_library)!r})\ndef run(x):\n    return torch.ops.deploy_loaded.count(x)\n",
    )

    def count(session):
        run = session.global_("use_op", "run")
        return [torch.from_dlpack(run(torch.zeros(1)).to_value()).item() for _ in range(3)]

    assert in_each_interpreter(manager, count) == [[1, 2, 3]] * 2


CTYPES = """
import ctypes, ssl, sqlite3, decimal, hashlib, lzma, bz2, zlib, json, asyncio, multiprocessing

async def answer():
    await asyncio.sleep(0)
    return 42

def run():
    database = sqlite3.connect(":memory:")
    libc = ctypes.CDLL(None)
    return [
        libc.abs(-3),
        database.execute("select 1 + 1").fetchone()[0],
        asyncio.run(answer()),
        hashlib.sha256(b"").hexdigest()[:8],
        lzma.decompress(lzma.compress(b"x")),
        str(decimal.Decimal("0.1") + 1),
    ]
"""


def test_the_standard_librarys_extension_modules_work(run):
    assert run("use_stdlib", CTYPES) == [[3, 2, 42, "e3b0c442", b"x", "1.1"]] * 2


def test_deploy_can_be_imported_after_everything_else(torch):
    """Libraries that are loaded late find little static TLS left, and libdeploy needs some."""
    source = "import numpy, torch, transformers, tokenizers, yaml, regex\nimport deploy\nprint(len(deploy.InterpreterManager(2)))\n"
    result = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, "2\n", "")


def test_the_host_is_untouched_by_what_the_interpreters_import(manager):
    manager.register_module("only_inside", "")
    with manager.acquire_session() as session:
        session.import_module("only_inside")
        assert session.global_("sys", "modules").call_method("get", "only_inside").type_name() == "module"
        assert session.global_("sys", "modules").call_method("get", "deploy").to_value() is None
    assert "only_inside" not in sys.modules
    assert isinstance(deploy.Error, type)


def test_dlopen_called_through_ctypes_is_the_interpreters_own(run):
    source = """
import ctypes, numpy._core._multiarray_umath as extension
def run():
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype, dlopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
    return dlopen(extension.__file__.encode(), 2) == ctypes.CDLL(extension.__file__)._handle, dlopen(None, 2) is not None
"""
    assert run("dlopen_through_ctypes", source) == [(True, True)] * 2
