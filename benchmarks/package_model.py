"""The model of the package benchmark: 2 GB of weights, and nothing between them."""

import torch


class Stack(torch.nn.Module):
    def __init__(self, width=4096, depth=32):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.utils.skip_init(torch.nn.Linear, width, width, device=torch.get_default_device()) for _ in range(depth)
        )
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.fill_(1e-4)

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x
