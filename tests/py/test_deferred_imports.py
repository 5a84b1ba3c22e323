"""With deferred_imports the seldom used parts of torch are executed when they are first used, and work as always.

(test_torch_inside.py runs whole with and without it.)"""

import textwrap

import pytest
from conftest import in_each_interpreter

import deploy

torch = pytest.importorskip("torch", reason="torch is not in this environment")

COMMON = """
import sys
import torch

def deferred():
    return [name for name, module in sys.modules.items() if type(module).__name__ == "DeferredModule"]
"""


@pytest.fixture
def run():
    """run(source) executes source's function run() in a new interpreter with deferred_imports."""
    environment = deploy.Environment.from_running_python()
    environment.deferred_imports = True

    def run(source):
        interpreter = deploy.Interpreter(environment)
        interpreter.register_module("subject", COMMON + textwrap.dedent(source))
        with interpreter.acquire_session() as session:
            return session.global_("subject", "run")().to_value()

    return run


def test_import_torch_and_a_model_leave_them_alone(run):
    result = run("""
        def run():
            before = set(deferred())
            model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 3)).eval()
            with torch.inference_mode():
                model(torch.ones(1, 1, 4, 4)).softmax(-1)
            return sorted(before), set(deferred()) == before
    """)
    some = {"torch._meta_registrations", "torch.fx", "torch.export", "torch.func", "torch.optim", "torch.utils.data", "unittest"}
    assert some <= set(result[0])
    assert result[1] is True


def test_without_it_nothing_is_deferred():
    interpreter = deploy.Interpreter(deploy.Environment.from_running_python())
    interpreter.register_module("subject", COMMON)
    with interpreter.acquire_session() as session:
        assert session.global_("subject", "deferred")().to_value() == []


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("torch.nn.Linear(2, 3, device='meta')(torch.ones(5, 2, device='meta')).shape[1]", 3),
        ("torch.linalg.svd(torch.ones(3, 2).to('meta')).S.shape[0]", 2),
        ("torch.vmap(lambda x: x.sum())(torch.ones(2, 3)).tolist()", [3.0, 3.0]),
        ("torch.cond(torch.tensor(True), lambda x: x + 1, lambda x: x - 1, (torch.zeros(1),)).item()", 1.0),
        ("torch.ops.higher_order.cond.__name__", "cond"),
        ("torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged).sum().item()", 5.0),
        ("torch.export.export(torch.nn.ReLU(), (torch.ones(2),)).module()(torch.tensor([-1.0, 1.0])).tolist()", [0.0, 1.0]),
        ("[n.op for n in torch.fx.symbolic_trace(torch.nn.ReLU()).graph.nodes]", ["placeholder", "call_function", "output"]),
        ("importlib.import_module('torch._subclasses').FakeTensorMode().from_tensor(torch.ones(2, 3)).mean(0).shape[0]", 3),
    ],
)
def test_the_compiler_side_works_at_its_first_use(run, use, expected):
    assert run(f"import importlib\ndef run():\n    return {use}\n") == expected


def test_the_others_work_at_their_first_use(run):
    result = run("""
        import importlib

        def run():
            mock = importlib.import_module("unittest.mock").Mock()
            quantized = torch.quantize_per_tensor(torch.ones(1, 2), 1, 0, torch.quint8)
            return [
                len(torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]).param_groups),
                round(torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(0.0)).exp().item(), 3),
                torch.lobpcg(torch.diag(torch.arange(1.0, 10.0)), k=1)[0].round().item(),
                torch.ao.nn.quantized.Linear(2, 2)(quantized).shape[1],
                list(torch.utils.data.DataLoader([1, 2], batch_size=2))[0].tolist(),
                torch.hub.get_dir().endswith("hub"),
                mock.x is mock.x,
            ]
    """)
    assert result == [1, 0.399, 9.0, 2, [1, 2], True, True]


def test_the_compiler_side_is_executed_together_and_once(run):
    result = run("""
        def run():
            torch.fx.Graph()
            left = [name for name in deferred() if name.startswith(("torch.fx", "torch.export", "torch._meta", "torch.func"))]
            kernels = torch._C._dispatch_has_kernel_for_dispatch_key("aten::_fft_c2c", "Meta")
            return left, kernels, "cond" in dir(torch), callable(torch.cond), "cond" in dir(torch)
    """)
    assert result == ([], True, False, True, True)


def test_a_user_of_the_compiler_side_is_executed_once_and_after_it(run):
    result = run("""
        import importlib

        def run():
            decompositions = importlib.import_module("torch._decomp")
            same = decompositions is sys.modules["torch._decomp"] is torch._decomp
            many = len(decompositions.decomposition_table) > 500
            return same, many, hasattr(decompositions, "decompositions"), "torch.fx" in deferred()
    """)
    assert result == (True, True, True, False)


def test_meta_kernels_are_the_same_ones(run):
    names = (
        "aten::empty.memory_format",
        "aten::empty_strided",
        "aten::add.Tensor",
        "aten::_fft_c2c",
        "aten::nonzero",
        "aten::_cdist_forward",
    )
    result = run(f"""
        def run():
            torch.ones(1, device="meta")
            dump = torch._C._dispatch_dump
            return [[line.split("::", 1)[0] for line in dump(name).splitlines() if line.startswith("Meta")] for name in {names}]
    """)
    dump = torch._C._dispatch_dump
    assert result == [[line.split("::", 1)[0] for line in dump(name).splitlines() if line.startswith("Meta")] for name in names]


def test_threads_that_use_it_first_at_once_all_find_it_whole(run):
    result = run("""
        import threading

        def run():
            results = []
            uses = [lambda: torch.fx.Graph(), lambda: torch.func.vmap(torch.sin)(torch.ones(2)),
                    lambda: torch.ones(2, device="meta"), lambda: torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])] * 2
            start = threading.Barrier(len(uses))
            def use(function):
                start.wait()
                results.append(type(function()).__name__)
            threads = [threading.Thread(target=use, args=(function,)) for function in uses]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return sorted(results)
    """)
    assert result == sorted(["Graph", "Tensor", "Tensor", "SGD"] * 2)


def test_a_module_that_fails_fails_again_and_is_itself_afterwards(run):
    result = run("""
        import importlib.util

        def run():
            spec = torch.optim.__spec__
            loader, errors = spec.loader, []
            class Failing:
                def exec_module(self, module):
                    module.half = 1
                    raise ValueError("no")
            spec.loader = Failing()
            for _ in range(2):
                try:
                    torch.optim.SGD
                except ValueError as error:
                    errors.append(str(error))
            spec.loader = loader
            return errors, hasattr(torch.optim, "half"), torch.optim.SGD.__name__
    """)
    assert result == (["no", "no"], False, "SGD")


MODELS = {
    "bert": "transformers.BertModel(transformers.BertConfig(**small, num_attention_heads=2, num_hidden_layers=2))",
    "gpt2": "transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=100))",
}


@pytest.mark.parametrize("name", MODELS)
def test_a_transformer_gives_the_same_output(name):
    source = f"""
import torch, transformers
small = dict(hidden_size=32, intermediate_size=64, vocab_size=100)
def run():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with torch.inference_mode():
        return {MODELS[name]}.eval()(torch.arange(12).reshape(2, 6))[0]
"""
    results = []
    for deferred in (False, True):
        environment = deploy.Environment.from_running_python()
        environment.deferred_imports = deferred
        with deploy.InterpreterManager(interpreters=2, environment=environment) as manager:
            manager.register_module("model", source)
            results += [
                torch.from_dlpack(y) for y in in_each_interpreter(manager, lambda s: s.global_("model", "run")().to_value())
            ]
    assert all(torch.equal(results[0], each) for each in results)
