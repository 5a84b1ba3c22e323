"""A package of 2 GB into four interpreters: time and memory, against torch.load(mmap=True) and torch.package's importer."""

import json
import pathlib
import subprocess
import sys

import package_model
import torch
from torch.package import PackageExporter

HERE = pathlib.Path(__file__).resolve().parent
ROUNDS = 3
WAYS = ("deploy", "torch.load(mmap=True)", "PackageImporter")


def write(folder):
    """The model as a package and as a state_dict, once."""
    package, state = folder / "two_gigabytes.pt", folder / "two_gigabytes.state.pt"
    if not (package.exists() and state.exists()):
        model = package_model.Stack()
        torch.save(model.state_dict(), state)
        with PackageExporter(package) as exporter:
            exporter.extern("torch.**")
            exporter.intern("package_model")
            exporter.save_pickle("model", "model.pkl", model)
    return package, state


def in_a_process_of_its_own(way, package, state):
    command = [sys.executable, str(HERE / "package_worker.py"), way, str(package), str(state)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"package: {way}: the process ended with status {done.returncode}")
    return json.loads(done.stdout)


def median(values):
    return sorted(values)[len(values) // 2]


def run(build):
    folder = build / "bench"
    package, state = write(folder)
    for file in (package, state):  # into the page cache: what is compared is the work, not the disk
        with open(file, "rb") as stream:
            while stream.read(1 << 24):
                pass
    rounds = [{way: in_a_process_of_its_own(way, package, state) for way in WAYS} for _ in range(ROUNDS)]
    report = {"weights_mb": package.stat().st_size / 1e6, "rounds": rounds}
    print(f"{report['weights_mb']:.0f} MB of weights; medians of {ROUNDS} rounds; each load is a model of its own:")
    for way in WAYS:
        figures = [each[way] for each in rounds]
        summary = {
            "open_ms": median([f["open_ms"] for f in figures]),
            "load_ms": [median([f["load_ms"][i] for f in figures]) for i in range(len(figures[0]["load_ms"]))],
            "private_percent_after_load": max(f["private_percent_after_load"] for f in figures),
            "private_percent_after_forward": max(f["private_percent_after_forward"] for f in figures),
        }
        report[way] = summary
        print(
            f"  {way:<22} open {summary['open_ms']:.0f} ms, loads {', '.join(f'{ms:.1f}' for ms in summary['load_ms'])} ms;"
            f" of the weights private, for each load: {summary['private_percent_after_load']:.2f} % after it,"
            f" {summary['private_percent_after_forward']:.2f} % after a forward",
            flush=True,
        )
    return report
