"""import torch in an interpreter against a plain Python process: time and private memory, with and without deferred_imports; and
whether the demo's models give the same outputs with them."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROUNDS = 7

# Both print when torch is there (the parent knows when they were started), what that cost the processor, and private memory in MB.
MEMORY = """
def private_mb():
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024
"""
PLAIN = (
    MEMORY
    + """
import json, os, sys, time
import torch
ready, cpu = time.time(), time.process_time()
print(json.dumps({"ready": ready, "cpu": cpu, "first_mb": private_mb()}), flush=True)
os._exit(0)
"""
)
INSIDE = (
    MEMORY
    + """
import json, os, sys, time
import deploy
environment = deploy.Environment.from_venv(sys.prefix)
environment.preload = ["torch"]
environment.deferred_imports = sys.argv[1] == "deferred"
memory, kept = [private_mb()], []
start, cpu = time.time(), time.process_time()
for i in range(3):
    kept.append(deploy.Interpreter(environment))
    if i == 0:
        ready, cpu = time.time(), time.process_time() - cpu
    memory.append(private_mb())
steps = [after - before for before, after in zip(memory, memory[1:])]
figures = {"started": start, "ready": ready, "cpu": cpu, "first_mb": steps[0], "each_mb": sum(steps) / len(steps)}
print(json.dumps(figures), flush=True)
os._exit(0)
"""
)


# Prints whether the outputs of the demo's models are the same bytes with and without deferred_imports.
OUTPUTS = """
import json, os, sys
import deploy
folder, source, *names = sys.argv[1:]
outputs = []
for deferred in (False, True):
    environment = deploy.Environment.from_venv(sys.prefix)
    environment.extra_paths = [folder]
    environment.deferred_imports = deferred
    interpreter = deploy.Interpreter(environment)
    interpreter.register_module("outputs", source)
    with interpreter.acquire_session() as session:
        outputs.append([session.global_("outputs", "run")(name).to_value() for name in names])
same = [one == other and len(one) > 0 for one, other in zip(*outputs)]
print(json.dumps(dict(zip(names, same))), flush=True)
os._exit(0)
"""
OF_A_MODEL = """
import models, torch
def run(name):
    torch.set_num_threads(1)
    model, inputs = models.build(name)
    with torch.inference_mode():
        return [tensor.contiguous().numpy().tobytes() for tensor in models.tensors(model(**inputs))]
"""
DEMO = pathlib.Path(__file__).parents[2] / "examples/demo"
MODELS = ["bert", "resnet50", "gpt2_small"]


def child(source, *arguments):
    done = subprocess.run([sys.executable, "-c", source, *map(str, arguments)], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"startup: the process ended with status {done.returncode}")
    return json.loads(done.stdout)


def measured(source, *arguments):
    started = time.time()
    result = child(source, *arguments)
    result["seconds"] = result["ready"] - result.pop("started", started)
    return result


def run(_build):
    os.sync()  # pages of a file that was just built count as its user's private ones until they are written
    rounds = []
    for i in range(ROUNDS + 1):
        one = {"plain": measured(PLAIN), "whole": measured(INSIDE, "whole"), "deferred": measured(INSIDE, "deferred")}
        if i:  # the first round fills the page cache and writes byte code
            rounds.append(one)
    report = {"rounds": rounds}

    def median(kind, what, plain_what=None):
        return statistics.median(one[kind][what] / (one["plain"][plain_what] if plain_what else 1) for one in rounds)

    for kind in ("plain", "whole", "deferred"):
        report[kind] = {"seconds": median(kind, "seconds"), "cpu": median(kind, "cpu"), "first_mb": median(kind, "first_mb")}
        if kind != "plain":
            best = min(one[kind]["seconds"] for one in rounds) / min(one["plain"]["seconds"] for one in rounds)
            report[kind] |= {
                "each_mb": median(kind, "each_mb"),
                "seconds_ratio": median(kind, "seconds", "seconds"),
                "seconds_ratio_of_best": best,
                "cpu_ratio": median(kind, "cpu", "cpu"),
                "first_mb_ratio": median(kind, "first_mb", "first_mb"),
                "each_mb_ratio": median(kind, "each_mb", "first_mb"),
            }
            figures = report[kind]
            print(
                f"import torch, {kind:8}: {figures['seconds']:.2f} s, {figures['seconds_ratio']:.2f} of plain"
                f" (best rounds {best:.2f}, processor time {figures['cpu_ratio']:.2f});"
                f" {figures['each_mb']:.0f} MB private for each of three, {figures['each_mb_ratio']:.2f} of plain"
                f" (the first {figures['first_mb_ratio']:.2f})",
                flush=True,
            )
        else:
            print(f"import torch, plain   : {report[kind]['seconds']:.2f} s, {report[kind]['first_mb']:.0f} MB private", flush=True)
    report["same_outputs"] = child(OUTPUTS, DEMO, OF_A_MODEL, *MODELS)
    words = ", ".join(f"{name} {'yes' if same else 'NO'}" for name, same in report["same_outputs"].items())
    print(f"outputs of the demo's models are the same with deferred_imports: {words}", flush=True)
    return report
