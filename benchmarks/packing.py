"""Packing BERT-base with transformers inside, verification aside: time and memory, against torch.package's exporter."""

import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROUNDS = 5


def in_a_process_of_its_own(writer, folder):
    command = [sys.executable, "-W", "ignore", str(HERE / "packing_worker.py"), writer, str(folder)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"packing: writer {writer!r} ended with status {done.returncode}")
    return json.loads(done.stdout)


def run(build):
    folder = build / "bench" / "packing"
    folder.mkdir(parents=True, exist_ok=True)
    report = {"model_mb": None}
    for writer, rounds in (("deploy", ROUNDS), ("deploy_extern", ROUNDS), ("torch.package", 1)):
        figures = [in_a_process_of_its_own(writer, folder) for _ in range(rounds)]
        report["model_mb"] = figures[0]["model_mb"]
        report[writer] = {key: [each[key] for each in figures] for key in ("seconds", "cpu_seconds", "extra_mb", "file_mb")}
        seconds, cpu, extra = (report[writer][key] for key in ("seconds", "cpu_seconds", "extra_mb"))
        print(
            f"{writer:>13}: {min(seconds):.2f} s (median {statistics.median(seconds):.2f}; {statistics.median(cpu):.2f} s of CPU), "
            f"{max(extra):.0f} MB over the model's {figures[0]['model_mb']:.0f}, file {figures[0]['file_mb']:.0f} MB",
            flush=True,
        )
    return report
