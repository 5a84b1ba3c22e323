"""Calls of models record nothing for gradients, unless the package or the environment says otherwise."""

import importlib
import json
import sys
import zipfile

import pytest

import deploy
from deploy.package import inspect, save, verify

torch = pytest.importorskip("torch", reason="torch is not in this environment")

MODELS = """
import concurrent.futures

import torch


def mode(*args):
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled()


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        self.seen = None

    def forward(self, x):
        return self.layers(x)

    def mode(self):
        return mode()

    def requires_grad(self, x):
        return self.layers(x).requires_grad

    def gradient(self, x):
        x = x.clone().requires_grad_()
        return torch.autograd.grad(self.layers(x).sum(), x)[0]

    def own_gradient(self, x):
        with torch.enable_grad():
            return self.gradient(x)

    def step(self, x):
        loss = self.layers(x).square().sum()
        loss.backward()
        return self.layers[0].weight.grad.clone()

    def functional(self, x):
        return torch.func.grad(lambda each: self.layers(each).sum())(x)

    def in_threads(self, x):
        x = x * 2
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return torch.stack(list(pool.map(self.layers, [x, x]))).detach()

    def count(self, x):
        self.seen = torch.zeros_like(x) if self.seen is None else self.seen
        return self.seen.add_(x).clone()

    def leave_it_off(self):
        torch.set_grad_enabled(False)

    def fail(self):
        raise ValueError("on purpose")

    def part(self):
        return self.layers


def lazily(*args):
    import torch as imported

    return imported.is_grad_enabled()
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "grad_models.py").write_text(MODELS)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("grad_models")
    sys.path.remove(str(folder))
    del sys.modules["grad_models"]


@pytest.fixture(scope="module")
def site():
    return deploy.Environment.from_running_python().site_packages


@pytest.fixture(scope="module")
def managers(site, cache):
    """{grad mode of the environment: a manager}"""
    made = {
        mode: deploy.InterpreterManager(1, deploy.Environment(site_packages=site, cache_dir=cache, grad_mode=mode))
        for mode in (None, "inference_mode", "enable_grad")
    }
    yield made
    for manager in made.values():
        manager.close()


@pytest.fixture(scope="module")
def packed(models, tmp_path_factory):
    """{grad mode of save(): the file}"""
    folder = tmp_path_factory.mktemp("packed")
    modes = (None, "no_grad", "inference_mode", "enable_grad")
    for mode in modes:
        save(folder / f"{mode}.pt", models.Net(), grad_mode=mode, verify=False)
    return {mode: folder / f"{mode}.pt" for mode in modes}


def load(manager, path):
    return manager.load_package(path).load_pickle("model", "model.pkl")


X = torch.linspace(-1, 1, 4).reshape(1, 4)
STATE = {"no_grad": (False, False), "inference_mode": (False, True), "enable_grad": (True, False)}


def torch_of(result):
    return torch.from_dlpack(result)


def callable_of(path):
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("manifest.json"))
        return json.loads(archive.read(name))["callables"][0]


@pytest.mark.parametrize("mode", [None, "no_grad", "inference_mode", "enable_grad"])
def test_a_package_is_called_in_the_mode_that_it_was_written_with(managers, packed, mode):
    model = load(managers[None], packed[mode])
    assert model.call_method("mode") == STATE[mode or "no_grad"]
    assert model.call_method("requires_grad", X) is (mode == "enable_grad")
    assert callable_of(packed[mode])["grad_mode"] == (mode or "no_grad")
    assert f", {mode or 'no_grad'}\n" in str(inspect(packed[mode]))


@pytest.mark.parametrize("mode", ["inference_mode", "enable_grad"])
def test_the_environment_overrides_what_packages_say(managers, packed, mode):
    for path in packed.values():
        assert load(managers[mode], path).call_method("mode") == STATE[mode]


def test_results_are_equal_in_all_modes(managers, packed, models):
    expected = models.Net()(X).detach()
    for manager in managers.values():
        assert torch.equal(torch_of(load(manager, packed[None])(X)).detach(), expected)


def test_a_call_leaves_its_thread_as_it_was(managers, packed):
    for mode, path in packed.items():
        model = load(managers[None], path)
        with pytest.raises(deploy.Error, match="on purpose"):
            model.call_method("fail")
        with model.acquire_session() as session:
            assert session.global_("torch", "is_grad_enabled")().to_value() is True, mode
            assert session.global_("torch", "is_inference_mode_enabled")().to_value() is False, mode


def test_code_that_switches_gradients_off_for_good_does_so_for_its_call(managers, packed):
    model = load(managers[None], packed["enable_grad"])
    model.call_method("leave_it_off")
    assert model.call_method("mode") == (True, False)


def test_objects_of_a_session_run_as_what_they_came_from(managers, packed):
    for mode, path in packed.items():
        model = load(managers[None], path)
        state = STATE[mode or "no_grad"]
        with model.acquire_session() as session:
            own = session.from_replicated(model)
            assert own.call_method("mode").to_value() == state
            assert own.attr("mode")().to_value() == state
            part = own.call_method("part")
            assert part(X).attr("requires_grad").to_value() is state[0]
            assert session.global_("grad_models", "mode")().to_value() == (True, False)  # plain Python


def test_objects_that_are_replicated_by_hand_are_models_too(managers, packed):
    with managers[None].acquire_session() as session:
        linear = session.replicate(session.global_("torch.nn", "Linear")(4, 2))
    with linear.acquire_session() as session:
        assert session.from_replicated(linear)(X).attr("requires_grad").to_value() is False
    model = load(managers[None], packed["enable_grad"])
    with model.acquire_session() as session:
        again = session.replicate(session.from_replicated(model))
    assert again.call_method("mode") == (True, False)


def test_code_that_asks_for_gradients_gets_them_by_default(managers, packed, models):
    expected = models.Net().own_gradient(X)
    model = load(managers[None], packed[None])
    assert torch.equal(torch_of(model.call_method("own_gradient", X)), expected)
    assert torch.equal(torch_of(model.call_method("functional", X)), expected)
    assert torch.allclose(torch_of(model.call_method("in_threads", X))[0], models.Net()(X * 2))


def test_code_that_leaves_gradients_to_its_caller_is_told_what_to_do(managers, packed, models):
    for path, mode in ((packed[None], "no_grad"), (packed["inference_mode"], "inference_mode")):
        model = load(managers[None], path)
        with pytest.raises(deploy.Error) as caught:
            model.call_method("gradient", X)
        assert f"the call ran as under torch.{mode}()" in str(caught.value)
        assert 'deploy.package.save(grad_mode="enable_grad")' in str(caught.value)
        assert model.call_method("mode") == STATE[mode]  # the next call
    model = load(managers[None], packed["enable_grad"])
    assert torch.equal(torch_of(model.call_method("gradient", X)), models.Net().gradient(X))
    assert torch.equal(torch_of(model.call_method("step", X)), models.Net().step(X))
    with pytest.raises(deploy.Error) as caught:
        model.call_method("fail")
    assert "torch.no_grad" not in str(caught.value)


def test_a_cache_that_a_model_keeps_outlives_a_change_of_mode(managers, packed):
    model = load(managers[None], packed[None])
    assert torch.equal(torch_of(model.call_method("count", X)), X)
    with model.acquire_session() as session:
        again = session.global_("operator", "methodcaller")("count", session.from_value(X))(session.from_replicated(model))
        assert torch.equal(torch_of(again.to_value()), 2 * X)  # with gradients on
    assert torch.equal(torch_of(model.call_method("count", X)), 3 * X)


def test_save_finds_out_that_an_example_needs_gradients(models, tmp_path):
    summary = save(tmp_path / "p.pt", models.Net(), example_args=(X,), method="gradient")
    assert summary.verified and any("needs gradients" in note for note in summary.notes)
    assert callable_of(tmp_path / "p.pt")["grad_mode"] == "enable_grad"
    assert verify(tmp_path / "p.pt").exact
    summary = save(tmp_path / "q.pt", models.Net(), example_args=(X,), method="own_gradient")
    assert summary.verified and callable_of(tmp_path / "q.pt")["grad_mode"] == "no_grad"
    with pytest.raises(RuntimeError, match="does not require grad"):
        save(tmp_path / "r.pt", models.Net(), example_args=(X,), method="gradient", grad_mode="no_grad")
    assert not (tmp_path / "r.pt").exists()


def test_verify_repeats_the_example_in_the_mode_that_will_be_in_force(models, tmp_path):
    for mode in ("inference_mode", "enable_grad"):
        save(tmp_path / "p.pt", models.mode, example_args=(1,), grad_mode=mode)
        assert verify(tmp_path / "p.pt").exact
    site = deploy.Environment.from_running_python().site_packages
    with pytest.raises(deploy.package.VerificationError, match="recorded was True"):
        verify(tmp_path / "p.pt", environment=deploy.Environment(site_packages=site, grad_mode="no_grad"))


def test_run_calls_in_the_packages_mode(models, tmp_path):
    for mode in ("no_grad", "enable_grad"):
        save(tmp_path / "p.pt", models.mode, example_args=(1,), grad_mode=mode, verify=False)
        assert deploy.package.run(tmp_path / "p.pt") == repr(STATE[mode])


def test_a_function_that_imports_torch_itself_is_called_in_the_mode_from_the_first_call(managers, models, tmp_path, cache, site):
    save(tmp_path / "p.pt", models.lazily, example_args=(), verify=False)
    with deploy.InterpreterManager(1, deploy.Environment(site_packages=site, cache_dir=cache)) as manager:
        assert load(manager, tmp_path / "p.pt")() is False


def test_plain_torch_packages_are_called_without_gradients(managers, tmp_path):
    with torch.package.PackageExporter(tmp_path / "plain.pt") as exporter:
        exporter.extern("torch.**")
        exporter.save_pickle("model", "model.pkl", torch.is_grad_enabled)
    assert load(managers[None], tmp_path / "plain.pt")() is False


def test_what_is_no_mode_is_refused(models, tmp_path, raises, site):
    with raises(deploy.ErrorCode.INVALID_ARGUMENT) as caught:
        save(tmp_path / "p.pt", models.mode, grad_mode="off")
    assert "grad_mode: found 'off', expected 'no_grad' or 'inference_mode' or 'enable_grad', or None" in str(caught.value)
    with raises(deploy.ErrorCode.INVALID_ARGUMENT) as caught:
        deploy.InterpreterManager(1, deploy.Environment(grad_mode="off"))
    assert "grad_mode: found 'off', expected 'no_grad', 'inference_mode', 'enable_grad' or None" in str(caught.value)


def test_without_torch_there_is_no_mode(bare, tmp_path):
    import subprocess

    script = "import deploy.package, sys, statistics\n"
    script += f"deploy.package.save({str(tmp_path / 'p.pt')!r}, statistics.mean, example_args=([1, 2],))\n"
    subprocess.run([sys.executable, "-c", script], check=True)
    assert callable_of(tmp_path / "p.pt")["grad_mode"] is None
    assert load(bare, tmp_path / "p.pt")([1, 3]) == 2
