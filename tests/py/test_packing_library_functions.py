"""Functions that libraries put into their own objects, methods whose function has no name, and classes that a first call makes."""

import importlib
import re
import sys
import types

import pytest

import deploy
from deploy.package import PackagingError, save, verify

torch = pytest.importorskip("torch", reason="torch is not in this environment")
transformers = pytest.importorskip("transformers", reason="transformers is not in this environment")


def bert():
    torch.manual_seed(0)
    config = transformers.BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    return transformers.BertModel(config).eval()


def segformer():
    torch.manual_seed(0)
    config = transformers.SegformerConfig(hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], decoder_hidden_size=32, num_labels=5)
    return transformers.SegformerForSemanticSegmentation(config).eval()


def added(model):
    """What was put into a model: {module: {table of hooks: keys}}, and the names of its attributes."""
    tables = {
        name: {table: list(hooks) for table, hooks in vars(module).items() if table.endswith("hooks") and isinstance(hooks, dict)}
        for name, module in model.named_modules()
    }
    return tables, {name: set(vars(module)) for name, module in model.named_modules()}


IDS = torch.arange(4)[None]
EXAMPLE = {"example_args": (IDS,), "example_kwargs": {"output_hidden_states": True, "output_attentions": False}}


def test_a_model_that_was_called_for_its_hidden_states_is_packed_and_stays_as_it_was(tmp_path):
    model = bert()
    fresh = added(model)
    for _ in range(2):
        assert save(tmp_path / "p.pt", model, **EXAMPLE).verified
        assert added(model) == fresh
    model(IDS, output_hidden_states=True)
    called = added(model)
    assert called != fresh
    assert save(tmp_path / "p.pt", model, **EXAMPLE).verified
    assert added(model) == called
    assert len(model(IDS, output_hidden_states=True).hidden_states) == 3


def test_hidden_states_come_out_of_the_package_each_once(tmp_path):
    model = bert()
    expected = model(IDS, output_hidden_states=True).hidden_states
    save(tmp_path / "p.pt", model, **EXAMPLE, verify=False)
    with deploy.InterpreterManager(1) as manager:
        packed = manager.load_package(tmp_path / "p.pt").load_pickle("model", "model.pkl")
        for _ in range(2):
            found = packed(IDS, output_hidden_states=True)["hidden_states"]
            assert len(found) == len(expected) == 3
            assert all(torch.equal(torch.from_dlpack(one), other) for one, other in zip(found, expected, strict=True))


def test_a_model_that_always_asks_for_its_hidden_states_is_packed(tmp_path):
    model = segformer()
    images = torch.randn(1, 3, 64, 64)
    model(images)
    before = added(model)
    assert save(tmp_path / "p.pt", model, example_args=(images,)).verified
    assert added(model) == before


def test_hooks_for_training_are_left_out_with_their_handles(odd_results, tmp_path):
    model = bert()
    model.enable_input_require_grads()
    model.embeddings.word_embeddings.register_forward_hook(odd_results.note_call)
    before = added(model)
    assert save(tmp_path / "p.pt", model, **EXAMPLE).verified
    assert added(model) == before
    with deploy.InterpreterManager(1) as manager:
        packed = manager.load_package(tmp_path / "p.pt").load_pickle("model", "model.pkl")
        manager.register_module("looking", LOOKING)
        with packed.acquire_session() as session:
            inside = session.from_replicated(packed)
            assert session.global_("looking", "hooks")(inside).to_value() == ["note_call"]
            inside.call_method("disable_input_require_grads")
            assert session.global_("looking", "hooks")(inside).to_value() == ["note_call"]
    model.disable_input_require_grads()
    assert "make_inputs_require_grads" not in str(model.embeddings.word_embeddings._forward_hooks)


LOOKING = """
def hooks(model):
    return [hook.__name__ for hook in model.embeddings.word_embeddings._forward_hooks.values()]
"""


class Wrapper:
    """An application's own object that has a library's model in it."""

    def __init__(self, model):
        self.model = model

    def __call__(self, ids):
        return self.model(ids, output_hidden_states=True).hidden_states[1]


def test_a_model_inside_another_object_stays_as_it_was_even_if_the_call_fails(tmp_path, odd_results):
    wrapper = Wrapper(bert())
    before = added(wrapper.model)
    with pytest.raises(IndexError):
        save(tmp_path / "p.pt", wrapper, example_args=(IDS + 100_000,))
    assert added(wrapper.model) == before


ACCELERATE = """
import functools


class AlignDevicesHook:
    def __init__(self, offload=False):
        self.offload = offload


def add_hook(module, hook):
    module._old_forward, module._hf_hook = module.forward, hook

    def new_forward(module, *args, **kwargs):
        return module._old_forward(*args, **kwargs)

    module.forward = functools.update_wrapper(functools.partial(new_forward, module), module._old_forward)
    move = module.to

    @functools.wraps(move)
    def warn(*args, **kwargs):
        return move(*args, **kwargs)

    module.to = warn
"""


def test_functions_that_only_move_tensors_between_devices_are_left_out(tmp_path, monkeypatch, odd_results):
    library = tmp_path / "site-packages" / "accelerate"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text(ACCELERATE)
    monkeypatch.syspath_prepend(str(library.parent))
    monkeypatch.delitem(sys.modules, "accelerate", raising=False)
    accelerate = importlib.import_module("accelerate")
    for bound in (False, True):
        model = torch.nn.Sequential(torch.nn.Linear(2, 2))
        if bound:
            model.forward = types.MethodType(odd_results.doubled, model)
        for module in model.modules():
            accelerate.add_hook(module, accelerate.AlignDevicesHook())
        before = added(model)
        assert save(tmp_path / "p.pt", model, example_args=(torch.ones(1, 2),)).verified
        assert added(model) == before
    accelerate.add_hook(model[0], accelerate.AlignDevicesHook(offload=True))
    with pytest.raises(PackagingError, match="a library made it while it ran"):
        save(tmp_path / "p.pt", model, verify=False)


def test_a_hook_of_ones_own_is_kept_or_told(tmp_path):
    model = bert()
    handle = model.encoder.layer[0].register_forward_hook(lambda module, args, output: output)
    with pytest.raises(PackagingError, match=r"encoder\.layer\[0\].*is a lambda") as caught:
        save(tmp_path / "p.pt", model, verify=False)
    assert len(caught.value.problems) == 1
    handle.remove()
    save(tmp_path / "p.pt", model, verify=False)


def test_methods_whose_function_has_no_name_or_another_one_are_written_as_their_parts(odd_results, tmp_path):
    greeter = odd_results.Greeter("hello")
    assert greeter("you") == ["hello you", "hello you", "youyou", "you"]
    assert save(tmp_path / "p.pt", greeter, example_args=("you",)).verified
    with deploy.InterpreterManager(1) as manager:
        packed = manager.load_package(tmp_path / "p.pt").load_pickle("model", "model.pkl")
        assert packed("me") == ["hello me", "hello me", "meme", "me"]


def test_methods_of_classes_and_modules_keep_their_names(tmp_path, odd_results):
    class_method = dict.fromkeys
    assert save(tmp_path / "p.pt", class_method, example_args=(("a", "b"), 1)).verified
    bound = odd_results.Greeter("hello").plain
    assert save(tmp_path / "p.pt", bound, example_args=(1,)).verified


def test_a_class_that_the_first_call_makes_is_named_with_what_works(odd_results, tmp_path):
    lazy = odd_results.Lazy()
    assert save(tmp_path / "p.pt", lazy, example_args=(2,)).verified  # before the first call
    assert lazy(2) == 4
    with pytest.raises(PackagingError) as caught:
        save(tmp_path / "p.pt", lazy, example_args=(2,))
    told = str(caught.value)
    assert "model.helper" in told and "is the local class 'Lazy.__call__.<locals>.Helper', made inside 'Lazy.__call__'" in told
    assert "define it at the top level of a module" in told and "pack the object before that call" in told
    assert "set the attribute that holds it to what it was" in told
    lazy.helper = None
    assert save(tmp_path / "p.pt", lazy, example_args=(2,)).verified
    assert verify(tmp_path / "p.pt").complete


def test_what_a_library_made_while_it_ran_is_not_asked_to_be_rewritten(tmp_path, monkeypatch):
    library = tmp_path / "site-packages" / "making"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("def make():\n    def made():\n        return 1\n    return made\n")
    monkeypatch.syspath_prepend(str(library.parent))
    made = importlib.import_module("making").make()
    with pytest.raises(PackagingError) as caught:
        save(tmp_path / "p.pt", {"made": made}, verify=False)
    assert re.search(
        r"a library made it while it ran: pack the object before the first call, or set the attribute", str(caught.value)
    )
    assert "top level" not in str(caught.value)
