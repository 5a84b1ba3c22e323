"""Many interpreters with torch: what each costs in time and memory, and whether they come and go without a trace."""

import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def in_a_process_of_its_own(count, rounds):
    command = [sys.executable, str(HERE / "interpreters_worker.py"), str(count), str(rounds)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"interpreters: {count} interpreters, {rounds} rounds: the process ended with status {done.returncode}")
    return json.loads(done.stdout)


def run(_build):
    report = {}
    for count, rounds in ((1, 1), (2, 1), (16, 1), (8, 5)):
        report[f"{count}x{rounds}"] = figures = in_a_process_of_its_own(count, rounds)
        print(
            f"{count:>2} interpreters, time {rounds}: {figures['seconds'][-1]:.2f} s to boot, import torch and use each;"
            f" {figures['private_mb_each']:.0f} MB private each, {figures['private_mb_after']:.0f} MB in the process after close",
            flush=True,
        )
    return report
