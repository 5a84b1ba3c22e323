"""What N interpreters do for models that are bound by Python: N interpreters and N threads against 1 and N, and against 1 and 1."""

import json
import pathlib
import subprocess
import sys

from torch.package import PackageExporter

HERE = pathlib.Path(__file__).resolve().parent
DEMO = HERE.parent / "examples/demo"


def write_pure_loop(path):
    import pure_loop

    with PackageExporter(str(path)) as exporter:
        exporter.intern("pure_loop")
        exporter.save_pickle("model", "model.pkl", pure_loop.PureLoop())
        exporter.save_pickle("model", "inputs.pkl", {})


def run(build):
    folder = build / "bench"
    write_pure_loop(folder / "pure_loop.pt")
    subprocess.run([sys.executable, str(DEMO / "pack_models.py"), str(folder), "gpt2_small"], check=True)
    report = {}
    for name in ("gpt2_small", "pure_loop"):
        figures = folder / f"scaling_{name}.json"
        command = [
            build / "bin/serve_package",
            "--package",
            folder / f"{name}.pt",
            "--venv",
            sys.prefix,
            "--compare",
            "--json",
            figures,
        ]
        subprocess.run(list(map(str, command)), check=True)
        report[name] = json.loads(figures.read_text())
        figures.unlink()
    for name, figures in report.items():
        n, ratios = figures["interpreters"], figures["ratios"]
        print(
            f"{name:<12} {n} interpreters and {n} threads to 1 and {n}: {ratios['interpreters_to_one_interpreter']:.2f} x"
            f"   to 1 and 1: {ratios['interpreters_to_one_by_one']:.2f} x"
        )
    return report
