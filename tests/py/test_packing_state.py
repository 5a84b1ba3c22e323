"""What an example changes: the package has the object and inputs that save() was given, and the caller keeps them as they were."""

import copy
import io
import random

import packing_projects
import pytest

from deploy.package import VerificationError, save

torch = pytest.importorskip("torch", reason="torch is not in this environment")
np = pytest.importorskip("numpy")
PackageImporter = pytest.importorskip("torch.package").PackageImporter

MODELS = '''
import collections
import functools
import io
import random

import numpy as np
import torch


class InPlace(torch.nn.Module):
    def forward(self, x):
        x.mul_(2)
        return x.sum()


class ReturnsItsInput(torch.nn.Module):
    def forward(self, x):
        return x.mul_(2), x[:1]


class Cached(torch.nn.Module):
    """A cache tensor, and a Python counter of what is in it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("cache", torch.zeros(4, 2))
        self.count = 0

    def forward(self, x):
        self.cache[self.count] = x
        self.count += 1
        return self.cache[: self.count].sum(0)


class Normed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(x)


class Lists:
    """Python's own containers, nested, and what a __getstate__ leaves out."""

    total = 0

    def __init__(self):
        self.seen = [[1], {"a": {2}}]
        self.ordered = collections.OrderedDict(a=1, b=2)
        self.recent = collections.deque([1, 2], maxlen=2)
        self.raw = bytearray(b"abc")
        self.hidden = {"cache": [torch.zeros(2), np.zeros(2)]}
        self.array = np.arange(3.0)
        self.objects = np.array([[1], None], dtype=object)
        self.file = io.BytesIO(b"hello")
        self.random = random.Random(5)
        self.generator = np.random.default_rng(5)
        self.legacy = np.random.RandomState(5)
        self.torch_generator = torch.Generator().manual_seed(5)

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "hidden"}

    def __setstate__(self, state):
        self.__dict__.update(state, hidden={"cache": [torch.zeros(2), np.zeros(2)]})

    @functools.cached_property
    def lazily(self):
        return len(self.seen)

    def __call__(self, x):
        Lists.total += 1
        self.seen[0].append(x)
        self.seen[1]["a"].add(x)
        self.seen[1]["b"] = x
        self.ordered.move_to_end("a")
        self.recent.append(x)
        self.raw += b"d"
        self.hidden["cache"][0] += x
        self.hidden["cache"][1][:] = x
        self.hidden["more"] = x
        self.array *= 2
        self.objects[0].append(x)
        self.objects[1] = x
        self.new = x
        drawn = self.random.random() + self.generator.random() + self.legacy.rand()
        drawn += float(torch.rand(1, generator=self.torch_generator))
        return self.file.read(2), self.lazily, drawn, Lists.total, self.array.sum()


class Slotted:
    __slots__ = ("count", "late", "__weakref__")

    def __init__(self):
        self.count = 0

    def __call__(self, x):
        self.count += x
        self.late = [x]
        return self.count


class Lazy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.LazyLinear(2)

    def forward(self, x):
        return self.linear(x)


class Moves(torch.nn.Module):
    """Changes what its tensors are, instead of what is in them."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, 2))
        self.register_buffer("offset", torch.zeros(2))

    def forward(self, x):
        self.weight.data = self.weight.data.double() * 2
        self.weight.requires_grad_(False)
        self.offset.resize_(4).fill_(3)
        self.offset = torch.ones(2)
        self.register_buffer("late", torch.ones(1))
        self.register_forward_hook(_hook)
        self.eval()
        return x * self.weight.sum()


def _hook(module, args, result):
    return result + 1


class Learns(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)

    def forward(self, x):
        with torch.enable_grad():
            self.linear(x).sum().backward()
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter -= parameter.grad
            return self.linear(x).detach()


class Draws:
    def __call__(self, x):
        return random.random(), np.random.rand(), torch.rand(1)


class Fails(Cached):
    def forward(self, x):
        super().forward(x)
        raise RuntimeError("on purpose")


class Inputs:
    """Uses up what it is given."""

    def __call__(self, table, items, numbers, file, array):
        return table.pop("x") + items.pop(), list(numbers), file.read(), array.sort()


class Fills:
    def __init__(self, buffer):
        self.buffer = buffer

    def __call__(self, value):
        (self.buffer._values() if self.buffer.is_sparse else self.buffer).fill_(value)
        return 1


class Unpicklable(Cached):
    def forward(self, x):
        super().forward(x)
        return lambda: 1
'''


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    with packing_projects.imported(tmp_path_factory.mktemp("state"), {"stateful.py": MODELS}, "stateful") as module:
        yield module


def packed(path):
    """(object, inputs, result) of a package, as plain torch.package reads it."""
    importer = PackageImporter(str(path))
    parts = [("model", "model.pkl"), ("deploy_examples", "0.inputs.pkl"), ("deploy_examples", "0.outputs.pkl")]
    return [importer.load_pickle(*part) for part in parts]


def test_an_input_that_is_changed_in_place_is_recorded_as_it_was(models, tmp_path):
    x = torch.ones(3)
    assert save(tmp_path / "m.pt", models.InPlace(), example_args=(x,)).verified
    _, (args, _), result = packed(tmp_path / "m.pt")
    assert torch.equal(args[0], torch.ones(3)) and result == 6
    assert torch.equal(x, torch.ones(3))


def test_a_result_that_is_the_changed_input_is_recorded_as_it_is_then(models, tmp_path):
    x = torch.ones(3)
    save(tmp_path / "m.pt", models.ReturnsItsInput(), example_args=(x,), verify=False)
    _, (args, _), (result, part) = packed(tmp_path / "m.pt")
    assert torch.equal(args[0], torch.ones(3))
    assert torch.equal(result, torch.full((3,), 2.0)) and torch.equal(part, torch.full((1,), 2.0))
    assert result.untyped_storage().data_ptr() == part.untyped_storage().data_ptr()


def test_a_cache_goes_in_with_its_counter(models, tmp_path):
    model = models.Cached()
    model(torch.ones(2))
    given = copy.deepcopy(model)
    assert save(tmp_path / "m.pt", model, example_args=(torch.full((2,), 5.0),)).verified
    inside, _, result = packed(tmp_path / "m.pt")
    for each in (inside, model):
        assert each.count == given.count == 1
        assert torch.equal(each.cache, given.cache)
    assert torch.equal(result, torch.full((2,), 6.0))


def test_statistics_of_training_are_those_of_before(models, tmp_path):
    model = models.Normed().train()
    save(tmp_path / "m.pt", model, example_args=(torch.randn(8, 3) + 4,), verify=False)
    inside, _, _ = packed(tmp_path / "m.pt")
    for each in (inside, model):
        assert torch.equal(each.norm.running_mean, torch.zeros(3))
        assert torch.equal(each.norm.running_var, torch.ones(3))
        assert each.norm.num_batches_tracked == 0


def test_a_changed_result_that_shares_memory_with_the_model_has_a_record_of_its_own(models, tmp_path):
    holder = torch.nn.Linear(2, 2, bias=False)
    weight = holder.weight.detach().clone()
    save(tmp_path / "m.pt", holder.weight.detach(), example_args=(3.0,), method="mul_", verify=False)
    inside, _, result = packed(tmp_path / "m.pt")
    assert torch.equal(inside, weight) and torch.equal(result, weight * 3) and torch.equal(holder.weight, weight)


def test_an_unchanged_result_shares_the_model_s_record(tmp_path):
    weight = torch.randn(4)
    save(tmp_path / "m.pt", weight, example_args=(), method="detach", verify=False)
    assert len([name for name in packing_projects.records_of(tmp_path / "m.pt") if name.endswith(".storage")]) == 1


def facts(obj):
    """All that a Lists has, as values."""
    values = {
        name: value for name, value in vars(obj).items() if name not in ("random", "generator", "legacy", "torch_generator", "file")
    }
    values |= {
        "random": obj.random.getstate(),
        "generator": obj.generator.bit_generator.state,
        "legacy": obj.legacy.get_state()[1:3],
    }
    values |= {"torch_generator": obj.torch_generator.get_state().tolist(), "file": (obj.file.getvalue(), obj.file.tell())}
    return repr(values), list(obj.ordered), type(obj).total


def test_python_s_own_state_is_put_back(models, tmp_path):
    model = models.Lists()
    before, identities = facts(model), {name: id(value) for name, value in vars(model).items()}
    assert save(tmp_path / "m.pt", model, example_args=(3,)).verified
    assert facts(model) == before
    assert {name: id(value) for name, value in vars(model).items()} == identities
    first, second = packed(tmp_path / "m.pt"), tmp_path / "again.pt"
    assert first[0].seen == model.seen and first[0].array.tolist() == [0, 1, 2]
    save(second, model, example_args=(3,), verify=False)  # the second example sees what the first one saw
    assert repr(packed(second)[2]) == repr(first[2])


def test_slots_are_put_back(models, tmp_path):
    model = models.Slotted()
    save(tmp_path / "m.pt", model, example_args=(3,), verify=False)
    assert model.count == 0 and not hasattr(model, "late")
    assert packed(tmp_path / "m.pt")[0].count == 0


def test_a_module_that_becomes_another_one_at_its_first_call(models, tmp_path):
    model = models.Lazy()
    summary = save(tmp_path / "m.pt", model, example_args=(torch.ones(1, 3),))
    assert summary.verified and not [note for note in summary.notes if "put back" in note]
    assert type(model.linear) is torch.nn.LazyLinear
    assert isinstance(model.linear.weight, torch.nn.parameter.UninitializedParameter)
    assert model(torch.ones(1, 5)).shape == (1, 2)


def test_tensors_that_become_others_are_put_back(models, tmp_path):
    model = models.Moves().train()
    weight, offset = model.weight, model.offset
    summary = save(tmp_path / "m.pt", model, example_args=(torch.ones(2),), verify=False)
    assert not [note for note in summary.notes if "put back" in note]
    assert model.weight is weight and model.offset is offset and dict(model.named_buffers()).keys() == {"offset"}
    assert weight.dtype is torch.float32 and weight.requires_grad and torch.equal(weight, torch.ones(2, 2))
    assert torch.equal(offset, torch.zeros(2))
    assert model.training and not model._forward_hooks
    inside, _, result = packed(tmp_path / "m.pt")
    assert torch.equal(inside.weight, torch.ones(2, 2)) and inside.training
    assert result.tolist() == [8.0, 8.0]


def test_gradients_are_the_callers(models, tmp_path):
    model = models.Learns()
    model.linear(torch.ones(1, 2)).sum().backward()
    gradient = model.linear.weight.grad
    weight, content = model.linear.weight.detach().clone(), gradient.clone()
    save(tmp_path / "m.pt", model, example_args=(torch.ones(1, 2),), verify=False)
    assert model.linear.weight.grad is gradient and torch.equal(gradient, content)
    assert torch.equal(model.linear.weight, weight)
    assert torch.equal(packed(tmp_path / "m.pt")[0].linear.weight, weight)


def test_the_process_s_random_numbers_go_on_as_without_save(models, tmp_path):
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    def seed():
        random.seed(3), np.random.seed(3), torch.manual_seed(3)

    seed()
    expected = draw()
    seed()
    save(tmp_path / "m.pt", models.Draws(), example_args=(1,), verify=False)
    assert draw() == expected


def test_what_fails_leaves_the_object_as_it_was(models, tmp_path):
    model = models.Fails()
    with pytest.raises(RuntimeError, match="on purpose"):
        save(tmp_path / "m.pt", model, example_args=(torch.ones(2),))
    assert model.count == 0 and not model.cache.any()
    assert list(tmp_path.iterdir()) == []


def test_what_fails_its_verification_leaves_the_object_as_it_was(models, tmp_path):
    models.Lists.total = 5  # in a fresh process it is 0
    model = models.Lists()
    before = facts(model)
    try:
        with pytest.raises(VerificationError, match=r"result\[3\] is 1, recorded was 6"):
            save(tmp_path / "m.pt", model, example_args=(3,))
        assert facts(model) == before
    finally:
        models.Lists.total = 0
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_cannot_be_pickled_leaves_the_object_as_it_was(models, tmp_path):
    model = models.Unpicklable()
    summary = save(tmp_path / "m.pt", model, example_args=(torch.ones(2),), verify=False)
    assert "the result of the example is not recorded" in summary.notes[0]
    assert model.count == 0 and not model.cache.any()
    inside = PackageImporter(str(tmp_path / "m.pt")).load_pickle("model", "model.pkl")
    assert inside.count == 0 and not inside.cache.any()


def test_inputs_that_are_used_up_are_the_callers(models, tmp_path):
    table, items, numbers, file, array = {"x": 1}, [2, 3], iter([4, 5]), io.BytesIO(b"six"), np.array([3, 1, 2])
    summary = save(tmp_path / "m.pt", models.Inputs(), example_args=(table, items, numbers, file, array))
    assert summary.verified
    assert (
        table == {"x": 1} and items == [2, 3] and list(numbers) == [4, 5] and file.read() == b"six" and array.tolist() == [3, 1, 2]
    )
    _, (args, _), result = packed(tmp_path / "m.pt")
    assert args[0] == {"x": 1} and args[1] == [2, 3] and args[4].tolist() == [3, 1, 2]
    assert result == (4, [4, 5], b"six", None)


def test_only_inputs_are_copied_in_memory(tmp_path, monkeypatch):
    copied = []
    clone = torch.UntypedStorage.clone
    monkeypatch.setattr(torch.UntypedStorage, "clone", lambda self: copied.append(self.nbytes()) or clone(self))
    model = torch.nn.Sequential(torch.nn.Linear(100, 100), torch.nn.BatchNorm1d(100))
    save(tmp_path / "m.pt", model, example_args=(torch.ones(2, 100),), verify=False)
    assert copied == [2 * 100 * 4]


def test_saving_twice_gives_the_same_bytes(models, tmp_path):
    model = models.Cached()
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "m.pt", model, example_args=(torch.ones(2),), verify=False)
        contents.append((tmp_path / name / "m.pt").read_bytes())
    assert contents[0] == contents[1]


def test_a_torchscript_module_is_put_back(tmp_path):
    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls.add_(1)
            return x * self.calls

    model = torch.jit.script(Counts())
    save(tmp_path / "m.pt", model, example_args=(torch.ones(2),), verify=False)
    inside, _, result = packed(tmp_path / "m.pt")
    assert model.calls.item() == 0 and inside.calls.item() == 0 and result.tolist() == [1, 1]


def test_sparse_and_quantized_buffers_are_put_back(models, tmp_path):
    for buffer in (torch.eye(2).to_sparse(), torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)):
        before = buffer.clone()
        save(tmp_path / "m.pt", models.Fills(buffer), example_args=(2.0,), verify=False)
        assert str(buffer) == str(before)
        assert str(packed(tmp_path / "m.pt")[0].buffer) == str(before)
