import torch


class SimpleModel(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(inputs, outputs))
        self.tied = self.weight

    def forward(self, x):
        return self.weight.mm(x)

    def scaled(self, x, *, factor=1.0):
        return {"out": self(x) * factor, "factor": factor}

    def add_(self, amount):
        with torch.no_grad():
            self.weight.add_(amount)

    def first(self):
        return self.weight.detach().flatten()[0].item()


class Holder(torch.nn.Module):
    """A Python module around another one, scripted or traced."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)
