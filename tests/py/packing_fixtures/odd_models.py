"""Objects that pickle stumbles over, each with an example call: CASES[name]() gives (object, arguments)."""

import collections
import dataclasses
import functools
import math

import torch
import torch.nn.functional as F
from torch.nn.utils import parametrizations

Pair = collections.namedtuple("SomethingElse", "first second")
Made = dataclasses.make_dataclass("Made", [("scale", float)])


@dataclasses.dataclass
class Config:
    width: int = 4
    pair: Pair = Pair(1.0, 2.0)


def make_class():
    class Hidden(torch.nn.Module):
        def forward(self, x):
            return x + 1

    return Hidden


BoundElsewhere = make_class()


class Outer:
    class Inner(torch.nn.Module):
        def forward(self, x):
            return x * 3


class Configured(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.config = Config()
        self.made = Made(2.5)
        self.hidden = BoundElsewhere()
        self.inner = Outer.Inner()
        self.functional = F
        self.act = F.gelu
        self.partial = functools.partial(F.leaky_relu, negative_slope=0.2)
        self.root = math.sqrt

    def forward(self, x):
        x = self.partial(self.act(self.inner(self.hidden(x)))) * self.made.scale + self.config.pair.second
        return Pair(self.functional.relu(x), self.root(self.config.width))


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 8)
        self.head = torch.nn.Linear(8, 10, bias=False)
        self.head.weight = self.embedding.weight
        buffer = torch.randn(10, 10)
        self.register_buffer("rows", buffer[::2])
        self.register_buffer("columns", buffer.t()[1:3])
        self.register_buffer("bits", buffer.view(torch.int32))

    def forward(self, ids):
        self.rows.add_(0)
        same = self.head.weight.data_ptr() == self.embedding.weight.data_ptr()
        shared = self.rows.untyped_storage().data_ptr() == self.bits.untyped_storage().data_ptr()
        return self.head(self.embedding(ids)), self.rows.sum() + self.columns.sum(), self.bits, same, shared


class Complex(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(4, 4, dtype=torch.complex64))
        self.conjugated = self.weight.detach().conj()
        self.sparse = torch.randn(4, 4).relu().to_sparse()
        self.quantized = torch.quantize_per_tensor(torch.randn(4, 4), 0.1, 3, torch.quint8)
        self.channels = torch.quantize_per_channel(torch.randn(4, 4), torch.ones(4) / 10, torch.zeros(4), 0, torch.qint8)
        self.half = torch.randn(4).bfloat16()
        self.dtype, self.layout, self.memory_format = torch.float16, torch.strided, torch.channels_last
        self.empty = torch.empty(0, 3)

    def forward(self, x):
        y = (
            (x @ self.weight @ self.conjugated).abs()
            + self.sparse.to_dense()
            + self.quantized.dequantize()
            + self.channels.dequantize()
        )
        return y, self.half.to(self.dtype).float(), self.empty


def configured():
    return Configured(), (torch.randn(3, 4),)


def tied():
    return Tied(), (torch.tensor([1, 2, 3]),)


def complex_and_quantized():
    return Complex(), (torch.randn(4, 4, dtype=torch.complex64),)


def weight_norm():
    model = torch.nn.Sequential(
        parametrizations.weight_norm(torch.nn.Linear(4, 4)),
        parametrizations.orthogonal(torch.nn.Linear(4, 4)),
        parametrizations.spectral_norm(torch.nn.Conv1d(3, 3, 1)),
    )
    return model.eval(), (torch.randn(3, 4),)


def old_weight_norm():
    return torch.nn.utils.weight_norm(torch.nn.Linear(4, 4)), (torch.randn(3, 4),)


def dynamically_quantized():
    layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    return torch.ao.quantization.quantize_dynamic(layers, {torch.nn.Linear}), (torch.randn(3, 4),)


def graph_module():
    return torch.fx.symbolic_trace(torch.nn.Sequential(Outer.Inner(), torch.nn.Linear(4, 4), torch.nn.GELU())), (torch.randn(3, 4),)


class Holder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.scripted = torch.jit.script(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()))
        self.traced = torch.jit.trace(self.linear, torch.randn(3, 4))

    def forward(self, x):
        return self.traced(self.scripted(x)) - self.linear(self.scripted(x))


def torchscript():
    return Holder(), (torch.randn(3, 4),)


def deep():
    model = torch.nn.Linear(4, 4)
    for _ in range(150):
        model = torch.nn.Sequential(model)
    return model, (torch.randn(3, 4),)


CASES = {
    function.__name__: function
    for function in (
        configured,
        tied,
        complex_and_quantized,
        weight_norm,
        old_weight_norm,
        dynamically_quantized,
        graph_module,
        torchscript,
        deep,
    )
}
