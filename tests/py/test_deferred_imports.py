"""With deferred_imports the seldom used parts of torch are executed when they are first used, and work as always.

(test_torch_inside.py runs whole with and without it.)"""

import math
import pathlib
import textwrap

import pytest

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
        ("torch.randperm(5, generator=torch.Generator().manual_seed(1)).sum().item()", 10),
        ("isinstance(torch.Generator(), torch.Generator), isinstance(3, torch.Generator)", (True, False)),
        ("torch.compile(torch.nn.ReLU(), backend='eager', fullgraph=True)(torch.tensor([-1.0, 1.0])).tolist()", [0.0, 1.0]),
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
                round(torch.autograd.functional.jacobian(torch.sin, torch.zeros(1)).item(), 3),
                torch.autograd.profiler.record_function.__name__,
                torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2)).parametrizations.weight.original1.numel(),
                torch.nn.attention.SDPBackend.MATH.name,
                torch.accelerator.device_count(), torch.mps.device_count(), torch.mtia.device_count(),
                list(torch.func.functional_call(torch.nn.Identity(), {}, (torch.ones(1),)).shape),
                mock.x is mock.x,
            ]
    """)
    assert result == [1, 0.399, 9.0, 2, [1, 2], True, 1.0, "record_function", 4, "MATH", 0, 0, 0, [1], True]


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


def test_autograd_and_custom_ops_work_with_export_compile_and_meta_tensors(run):
    result = run("""
        @torch.library.custom_op("deferring::twice", mutates_args=())
        def twice(x: torch.Tensor) -> torch.Tensor:
            return x * 2

        @twice.register_fake
        def _(x):
            return torch.empty_like(x)

        twice.register_autograd(lambda context, gradient: gradient * 2)

        def gradient():
            x = torch.ones(3, requires_grad=True)
            (twice(x).sin().sum() + x.exp().sum()).backward()
            return [round(each, 4) for each in x.grad.tolist()]

        def run():
            before = gradient()
            traced = torch.export.export(torch.nn.Sequential(torch.nn.Linear(3, 2)), (torch.ones(1, 3),))
            compiled = torch.compile(lambda x: twice(x) + 1, backend="aot_eager", fullgraph=True)
            shape = torch.ops.deferring.twice(torch.ones(2, 5, device="meta")).shape
            return before == gradient(), before, len(list(traced.graph.nodes)), compiled(torch.ones(2)).tolist(), list(shape)
    """)
    slope = round(2 * math.cos(2) + math.e, 4)
    assert result == (True, [slope] * 3, 5, [3.0, 3.0], [2, 5])


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


@pytest.fixture(scope="module")
def demo():
    """demo(name): the output tensors of a model of the demo, full size, without and with deferred_imports."""
    environments = [deploy.Environment.from_running_python() for _ in range(2)]
    for environment, deferred in zip(environments, (False, True), strict=True):
        environment.deferred_imports = deferred
        environment.extra_paths = [str(pathlib.Path(__file__).parents[2] / "examples/demo")]
    interpreters = [deploy.Interpreter(environment) for environment in environments]
    for interpreter in interpreters:
        interpreter.register_module("demo_subject", COMMON + textwrap.dedent(DEMO))

    def demo(name):
        outputs = []
        for interpreter in interpreters:
            with interpreter.acquire_session() as session:
                count = session.global_("demo_subject", "run")(name).to_value()
                some = session.global_("demo_subject", "output")
                outputs.append([torch.from_dlpack(some(i).to_value()) for i in range(count)])
        return outputs

    return demo


DEMO = """
    import models

    def run(name):
        global outputs
        torch.set_num_threads(1)
        model, inputs = models.build(name)
        with torch.inference_mode():
            outputs = models.tensors(model(**inputs))
        return len(outputs)

    def output(i):
        return outputs[i]
"""


@pytest.mark.parametrize("name", ["bert", "resnet50", "gpt2_small"])
def test_a_model_of_the_demo_gives_the_same_output(demo, name):
    whole, deferred = demo(name)
    assert len(whole) == len(deferred) > 0 and all(tensor.numel() > 0 for tensor in whole)
    assert all(torch.equal(one, other) for one, other in zip(whole, deferred, strict=True))
