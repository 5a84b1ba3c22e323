"""Writes what serve_package serves, into a folder: for each model NAME.pt, a package (torch.package) with the model and its
inputs, and NAME.ts, the TorchScript trace of the same model, which the C++ baseline calls through libtorch."""

import argparse
import pathlib
import warnings

import models
import torch
from torch.package import PackageExporter


class Traceable(torch.nn.Module):
    """The model with positional arguments and a tuple as its result, which is what a trace can have."""

    def __init__(self, model, names):
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *inputs):
        output = self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=False)
        return tuple(models.tensors(output))


def write_package(path, model, inputs):
    with PackageExporter(path) as exporter:
        exporter.extern(["torch.**", "transformers.**"])
        exporter.save_pickle("model", "model.pkl", model)
        exporter.save_pickle("model", "inputs.pkl", inputs)


def write_trace(path, model, inputs):
    # Not frozen: freezing folds batch norms into convolutions, and then it is no longer the same arithmetic.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every shape that it makes a constant
        traced = torch.jit.trace(Traceable(model, list(inputs)).eval(), tuple(inputs.values()), strict=False, check_trace=False)
    traced.save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="*", default=list(models.MODELS))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "TypedStorage is deprecated")  # torch.package's own
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        model, inputs = models.build(name)
        write_package(str(arguments.folder / f"{name}.pt"), model, inputs)
        write_trace(str(arguments.folder / f"{name}.ts"), model, inputs)


if __name__ == "__main__":
    main()
