"""Packs BERT-base once and prints what it took: packing_worker.py deploy|deploy_extern|torch.package FOLDER.

deploy: transformers is inside the package, an example is run and recorded; deploy_extern: the same with transformers extern;
torch.package: its exporter with transformers interned.
"""

import json
import pathlib
import resource
import sys
import time

import torch
from transformers import BertConfig, BertModel

import deploy.package


def with_deploy(path, model, inputs, intern):
    deploy.package.save(path, model, example_kwargs=inputs, intern=intern, verify=False)


def with_torch_package(path, model):
    with torch.package.PackageExporter(path) as exporter:
        exporter.intern("transformers.**")
        exporter.extern("**")
        exporter.save_pickle("model", "model.pkl", model)


def main(writer, folder):
    torch.manual_seed(0)
    model = BertModel(BertConfig()).eval()
    inputs = {"input_ids": torch.randint(0, 1000, (1, 64))}
    model(**inputs)
    path = pathlib.Path(folder) / "bert.pt"
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    if writer == "torch.package":
        with_torch_package(path, model)
    else:
        with_deploy(path, model, inputs, ["transformers"] if writer == "deploy" else [])
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "extra_mb": (after.ru_maxrss - before.ru_maxrss) / 1024,
        "model_mb": sum(p.nbytes for p in [*model.parameters(), *model.buffers()]) / 2**20,
        "file_mb": path.stat().st_size / 2**20,
    }
    path.unlink()
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
