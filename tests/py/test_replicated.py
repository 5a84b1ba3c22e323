"""An object is called from any thread, on any interpreter; one that was made in an interpreter can be given to all."""

import threading

import pytest

import deploy

torch = pytest.importorskip("torch", reason="torch is not in this environment")

MODEL = """
import torch

class Scale(torch.nn.Module):
    def __init__(self, factor, size):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((size,), float(factor)))

    def forward(self, x):
        return x * self.weight

    def fill(self, value):
        with torch.no_grad():
            self.weight.fill_(value)

def unpicklable():
    return lambda: None
"""


@pytest.fixture(scope="module")
def scale(manager):
    """A model made in one interpreter, and replicated."""
    manager.register_module("scale", MODEL)
    with manager.acquire_session() as session:
        return session.replicate(session.global_("scale", "Scale")(3, 4))


def test_three_threads_call_a_model_101_times(manager, packages):
    package = manager.load_package(packages / "simple.pt")
    model = package.load_pickle("model", "model.pkl")
    x = torch.ones(20, 3)
    want = torch.from_dlpack(model(x))
    wrong = []

    def call():
        for _ in range(101):
            if not torch.equal(torch.from_dlpack(model(x)), want):
                wrong.append(threading.get_ident())

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_replicated_object_runs_on_every_interpreter(manager, scale):
    for interpreter in manager.interpreters:
        with interpreter.acquire_session() as session:
            y = session.from_replicated(scale)(torch.ones(4)).to_value()
            assert torch.equal(torch.from_dlpack(y), torch.full((4,), 3.0))
    assert torch.equal(torch.from_dlpack(scale(torch.ones(4))), torch.full((4,), 3.0))


def test_a_write_to_a_replica_stays_in_its_interpreter(manager, scale):
    first, second = manager.interpreters
    with first.acquire_session() as session:
        session.from_replicated(scale).call_method("fill", 9.0)
    with second.acquire_session() as session:
        assert torch.from_dlpack(session.from_replicated(scale)(torch.ones(4)).to_value())[0] == 3.0
    with first.acquire_session() as session:
        session.from_replicated(scale).call_method("fill", 3.0)


def test_the_original_is_not_changed_by_writes_to_replicas(manager):
    manager.register_module("scale", MODEL)
    with manager.acquire_session() as session:
        original = session.global_("scale", "Scale")(1, 2)
        replica = session.replicate(original)
        session.from_replicated(replica).call_method("fill", 5.0)
        assert torch.from_dlpack(original.attr("weight").to_value())[0] == 1.0


def test_plain_data_and_package_objects_can_be_replicated(manager, packages):
    package = manager.load_package(packages / "plain.pt")
    counter = package.load_pickle("model", "counter.pkl")
    with manager.acquire_session() as session:
        inside = session.from_replicated(counter)
        value = inside.attr("value").to_value()
        copy = session.replicate(inside)
        data = session.replicate(session.from_value({"a": [1, (2, 3)]}))
    assert copy() == value + 1
    assert data.call_method("get", "a") == [1, (2, 3)]


def test_what_cannot_be_pickled_cannot_be_replicated(manager, raises):
    manager.register_module("scale", MODEL)
    with manager.acquire_session() as session:
        with raises(deploy.ErrorCode.PYTHON) as caught:
            session.replicate(session.global_("scale", "unpicklable")())
        assert "lambda" in caught.value.message
        assert session.from_value(1).to_value() == 1


def test_nested_calls_over_several_packages(manager, packages):
    simple = manager.load_package(packages / "simple.pt").load_pickle("model", "model.pkl")
    double = manager.load_package(packages / "plain.pt").load_pickle("model", "double.pkl")
    with simple.acquire_session() as outer:
        model = outer.from_replicated(simple)
        with double.acquire_session() as inner:
            twice = inner.from_replicated(double)
            assert twice(4).to_value() == 8
            assert model(torch.ones(20, 3)).hasattr("shape")
            assert double(5) == 10


def test_a_call_inside_a_session_does_not_wait_for_itself(manager, scale):
    with manager.acquire_session(), manager.acquire_session():
        assert torch.equal(torch.from_dlpack(scale(torch.ones(4))), torch.full((4,), 3.0))


def test_objects_are_no_arguments_of_a_replicated_object(manager, scale):
    with manager.acquire_session() as session:
        with pytest.raises(deploy.Error) as caught:
            deploy.Tensor(session.from_value(1))
        assert caught.value.code == deploy.ErrorCode.INVALID_ARGUMENT


def test_argument_names_are_the_models_own(manager):
    manager.register_module("names", "def f(*args, **kwargs):\n    return args, kwargs\n")
    with manager.acquire_session() as session:
        f = session.replicate(session.global_("names", "f"))
    assert f(1, self=2, name=3, args=4) == ((1,), {"self": 2, "name": 3, "args": 4})
    assert f.call_method("__call__", 1, name=2) == ((1,), {"name": 2})
