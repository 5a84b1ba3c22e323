"""Real models with their libraries inside the package, in an environment without these libraries. `./dev models` has many more."""

import pathlib
import random
import sys

import pytest

import deploy
from deploy.package import inspect, save, shadow, verify
from deploy.package.guest_check import check
from deploy.package.verification_worker import CHECK, register_check

torch = pytest.importorskip("torch", reason="torch is not in this environment")
PackageImporter = pytest.importorskip("torch.package", reason="torch is not in this environment").PackageImporter

NAMES = ["bert", "gpt2_generate", "llama_sample", "segformer", "tokenizer_and_model", "x_transformers", "ft_transformer"]


@pytest.fixture(scope="module")
def zoo():
    folder = str(pathlib.Path(__file__).parent.parent / "models")
    sys.path.insert(0, folder)
    import zoo

    yield zoo.ZOO
    sys.path.remove(folder)


def pack(zoo, name, path, *, interned):
    random.seed(0)
    torch.manual_seed(0)
    obj, args, *rest = zoo[name].build()
    kwargs, method = rest[0] if rest else {}, rest[1] if len(rest) > 1 else "__call__"
    intern = zoo[name].libraries if interned else ()
    return save(path, obj, example_args=args, example_kwargs=kwargs, method=method, intern=intern, verify=False)


@pytest.fixture(scope="module")
def interned(zoo, tmp_path_factory):
    """The folder of all models' packages with their libraries inside."""
    folder = tmp_path_factory.mktemp("models")
    for name in NAMES:
        summary = pack(zoo, name, folder / f"{name}.pt", interned=True)
        assert {library.replace("_", "-") for library in summary.interned} >= {n.replace("_", "-") for n in zoo[name].libraries}
    return folder


def test_models_work_in_two_interpreters_of_an_environment_without_their_libraries(zoo, interned, tmp_path):
    libraries = {library for name in NAMES for library in zoo[name].libraries}
    everything = deploy.Environment.from_running_python()
    folders = shadow.without(everything.site_packages, libraries, tmp_path)
    assert folders != list(everything.site_packages)
    with deploy.InterpreterManager(interpreters=2, environment=deploy.Environment(site_packages=folders)) as manager:
        register_check(manager)
        for interpreter in manager.interpreters:
            with interpreter.acquire_session() as session, pytest.raises(deploy.Error, match="transformers"):
                session.import_module("transformers")
        for name in NAMES:
            package = manager.load_package(interned / f"{name}.pt")
            method = package.manifest["callables"][0]["method"]
            parts = [("model", "model.pkl"), ("deploy_examples", "0.inputs.pkl"), ("deploy_examples", "0.outputs.pkl")]
            objects = [package.load_pickle(*part) for part in parts]
            for interpreter in package.interpreters:
                with interpreter.acquire_session() as session:
                    inside = [session.from_replicated(each) for each in objects]
                    found = session.global_(CHECK, "check")(*inside, method, 20, None, True).to_value()
                    assert found["differences"] == [], name


def test_a_fresh_process_verifies_a_tokenizer_and_its_model(interned):
    found = verify(interned / "tokenizer_and_model.pt", interpreters=2)
    assert (found.examples, found.compared, found.exact) == (1, 1, True)


def test_inspect_tells_of_the_library_inside(interned):
    told = str(inspect(interned / "bert.pt"))
    assert "  transformers 5.23.0 (transformers): intern pattern 'transformers'" in told
    assert "word_embeddings: torch.nn.modules.sparse.Embedding" in told
    assert "  tokenizers: tokenizers 0.23.3" in told


@pytest.mark.parametrize("name", ["bert", "segformer", "tokenizer_and_model"])
def test_the_extern_form_opens_in_plain_torch_package(zoo, tmp_path, name):
    path = tmp_path / f"{name}.pt"
    pack(zoo, name, path, interned=False)
    importer = PackageImporter(str(path))
    model = importer.load_pickle("model", "model.pkl")
    inputs = importer.load_pickle("deploy_examples", "0.inputs.pkl")
    outputs = importer.load_pickle("deploy_examples", "0.outputs.pkl")
    assert check(model, inputs, outputs, "__call__", 20, None, True)["differences"] == []


def test_an_interned_library_opens_in_plain_torch_package_if_it_bears_it(interned):
    path = interned / "ft_transformer.pt"
    importer = PackageImporter(str(path))
    model = importer.load_pickle("model", "model.pkl")
    assert type(model).__module__.startswith("<torch_package_")
    inputs = importer.load_pickle("deploy_examples", "0.inputs.pkl")
    outputs = importer.load_pickle("deploy_examples", "0.outputs.pkl")
    assert check(model, inputs, outputs, "__call__", 20, None, True)["differences"] == []
