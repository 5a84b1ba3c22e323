"""The model of call_cost: nothing but the call itself. Imported by plain Python, and registered in an interpreter as a module."""

import time

import torch


class Identity(torch.nn.Module):
    def forward(self, x):
        return x


def make():
    return Identity().eval()


def microseconds_a_call(calls):
    """What the call costs from Python code of the same interpreter."""
    model, x = make(), torch.ones(4)
    start = time.perf_counter()
    for _ in range(calls):
        model(x)
    return (time.perf_counter() - start) / calls * 1e6


if __name__ == "__main__":
    microseconds_a_call(10_000)
    while input():  # one line a round, so that the rounds of two processes can be taken in turn
        print(microseconds_a_call(100_000), flush=True)
