"""The torch inside an interpreter is a full one: all of this in two interpreters of one process at once, beside the host's."""

import re

import pytest
from conftest import in_each_interpreter

import deploy

torch = pytest.importorskip("torch", reason="torch is not in this environment")


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "deferred"])
def torches(request):
    """Two interpreters with torch, one thread of arithmetic each."""
    environment = deploy.Environment.from_running_python()
    environment.preload = ["torch"]
    environment.deferred_imports = request.param
    with deploy.InterpreterManager(interpreters=2, environment=environment) as manager:
        manager.register_module("one_thread", "import torch\ntorch.set_num_threads(1)\n")
        in_each_interpreter(manager, lambda session: session.import_module("one_thread").type_name())
        yield manager


@pytest.fixture
def run(torches, request):
    """run(source, args) executes source's function run() in both interpreters at once, and returns both results; `args` are
    the arguments of each."""

    def run(source, args=((), ())):
        name = re.sub(r"\W", "_", request.node.name)
        torches.register_module(name, source)
        arguments = dict(zip([each.id for each in torches.interpreters], args, strict=True))
        return in_each_interpreter(
            torches, lambda session: session.global_(name, "run")(*arguments[session.interpreter.id]).to_value()
        )

    return run


def reference(source, *args):
    """run() of the same source in this very process."""
    scope = {"__name__": "reference"}
    exec(source, scope)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return scope["run"](*args)
    finally:
        torch.set_num_threads(threads)


TRAINING = """
import torch

def run(optimizer):
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.LayerNorm(16), torch.nn.Linear(16, 1))
    optimizer = getattr(torch.optim, optimizer)(model.parameters(), lr=0.01)
    x = torch.randn(64, 8)
    y = x.sum(1, keepdim=True).sin()
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
"""


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_model_is_trained(run, optimizer):
    expected = reference(TRAINING, optimizer)
    assert expected[-1] < expected[0]
    assert run(TRAINING, [[optimizer]] * 2) == [expected] * 2


CUSTOM_OP = """
import torch

@torch.library.custom_op("deploy_inside::scaled", mutates_args=())
def scaled(x: torch.Tensor, factor: float) -> torch.Tensor:
    return x * factor + OFFSET

@scaled.register_fake
def _(x, factor):
    return torch.empty_like(x)

def setup(ctx, inputs, output):
    ctx.factor = inputs[1]

scaled.register_autograd(lambda ctx, grad: (grad * ctx.factor, None), setup_context=setup)

def run(offset):
    global OFFSET
    OFFSET = offset
    x = torch.ones(3, requires_grad=True)
    y = torch.ops.deploy_inside.scaled(x, 2.0)
    y.sum().backward()
    torch.library.opcheck(scaled, (torch.ones(3), 2.0))
    return y.tolist(), x.grad.tolist()
"""


def test_a_custom_op_of_one_name_is_another_op_in_each(run):
    assert run(CUSTOM_OP, [[1.0], [10.0]]) == [([3.0] * 3, [2.0] * 3), ([12.0] * 3, [2.0] * 3)]
    assert not hasattr(torch.ops.deploy_inside, "scaled")


FX = """
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x):
        return torch.relu(self.linear(x)) + 1

def run():
    model = Model()
    traced = torch.fx.symbolic_trace(model)
    for node in traced.graph.nodes:
        if node.target is torch.relu:
            node.target = torch.sigmoid
    traced.recompile()
    x = torch.ones(2, 4)
    same = torch.equal(traced(x), torch.sigmoid(model.linear(x)) + 1)
    return [node.op for node in traced.graph.nodes], same, "sigmoid" in traced.code
"""


def test_fx_traces_changes_and_recompiles_a_graph(run):
    assert run(FX) == [(["placeholder", "call_module", "call_function", "call_function", "output"], True, True)] * 2


JIT = """
import io
import torch

@torch.jit.script
def collatz(n: int) -> int:
    steps = 0
    while n != 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    return steps

class Gate(torch.nn.Module):
    def forward(self, x):
        if bool(x.sum() > 0):
            return x
        return -x

def run():
    scripted = torch.jit.script(Gate())
    file = io.BytesIO()
    torch.jit.save(scripted, file)
    file.seek(0)
    loaded = torch.jit.load(file)
    traced = torch.jit.trace(torch.nn.Softmax(dim=0), torch.zeros(2))
    return collatz(27), loaded(torch.tensor([-1.0, -2.0])).tolist(), traced(torch.ones(2)).tolist()
"""


def test_jit_scripts_saves_loads_and_traces(run):
    assert run(JIT) == [(111, [1.0, 2.0], [0.5, 0.5])] * 2


COMPILE = """
import os
import re

def run(cache):
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
    import torch
    import torch._inductor.config
    torch._inductor.config.compile_threads = 1

    def model(x, weight):
        return (torch.softmax(x.sin() * weight, dim=-1) + x.cos()).sum(-1)

    compiled = torch.compile(model, fullgraph=True)
    x = torch.arange(60.0).reshape(3, 20)
    weights = [torch.ones(20, requires_grad=True) for _ in range(2)]
    results = [function(x, weight) for function, weight in zip((compiled, model), weights)]
    for result in results:
        result.square().sum().backward()
    with open("/proc/self/maps") as maps:
        code = [line.split()[-1] for line in maps if re.search(" r-xp .*" + re.escape(cache) + ".*[.]so$", line)]
    same = torch.allclose(*results, atol=1e-5), torch.allclose(*(weight.grad for weight in weights), atol=1e-4)
    return same, sorted(code)
"""


def test_compile_builds_with_inductor_and_each_loads_the_same_library_privately(torches, run, tmp_path):
    for same, _ in run(COMPILE, [[str(tmp_path)]] * 2):
        assert same == (True, True)
    # What they built lies in one folder, and both have mapped it by now.
    _, code = run(COMPILE, [[str(tmp_path)]] * 2)[0]
    assert len(set(code)) == 2  # forward and backward
    assert [code.count(library) for library in set(code)] == [2, 2]


DISTRIBUTED = """
import datetime
import torch
import torch.distributed as dist

def run(store, rank):
    patience = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=patience)
    try:
        total = torch.full((4,), float(rank + 1))
        dist.all_reduce(total)
        parts = [torch.zeros(1) for _ in range(2)]
        dist.all_gather(parts, torch.tensor([float(rank)]))
        news = torch.tensor([41.0 if rank == 0 else 0.0])
        dist.broadcast(news, src=0)
        if rank == 0:
            dist.send(torch.tensor([7.0]), dst=1)
        else:
            dist.recv(news, src=0)

        torch.manual_seed(0)
        model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 1, bias=False))
        model(torch.full((1, 3), float(rank))).sum().backward()
        gradient = model.module.weight.grad.tolist()
        # Before the group: where a reducer is the last to hold one, it waits with the GIL held for a thread of gloo's that may want
        # the GIL, in plain Python too.
        del model
        dist.barrier()
        return total.tolist(), [part.item() for part in parts], news.item(), gradient
    finally:
        dist.destroy_process_group()
"""


def test_two_interpreters_are_two_ranks_of_one_gloo_group(run, tmp_path):
    results = run(DISTRIBUTED, [[str(tmp_path / "store"), rank] for rank in range(2)])
    for rank, result in enumerate(results):
        assert result == ([3.0] * 4, [0.0, 1.0], [41.0, 7.0][rank], [[0.5] * 3])


LOADER = """
import threading
import torch
from torch.utils.data import DataLoader, Dataset

class Squares(Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, i):
        return torch.tensor(float(i * i))

def run(workers):
    batches = list(DataLoader(Squares(), batch_size=5, num_workers=workers, timeout=60 if workers else 0))
    return torch.cat(batches).tolist()

def run_in_threads(count):
    results = [None] * count
    def fill(i):
        results[i] = run(0)
    threads = [threading.Thread(target=fill, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
"""
SQUARES = [float(i * i) for i in range(20)]


def test_data_loaders_run_in_threads(torches):
    torches.register_module("loader_in_threads", LOADER)
    results = in_each_interpreter(torches, lambda session: session.global_("loader_in_threads", "run_in_threads")(3).to_value())
    assert results == [[SQUARES] * 3] * 2


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_works_with_and_without_worker_processes(run, workers):
    assert run(LOADER, [[workers]] * 2) == [SQUARES] * 2
