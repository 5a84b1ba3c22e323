"""The demo: packages three models, serves each from C++ in several ways, prints a table and writes BUILD/demo.json."""

import argparse
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
NAMES = ["bert", "resnet50", "gpt2_small"]


def say(text):
    print(f"\033[1m==> {text}\033[0m", flush=True)


def run(*command):
    status = subprocess.run([str(word) for word in command], check=False, env={**os.environ, "PYTHONWARNINGS": "ignore"}).returncode
    if status != 0:
        sys.exit(f"demo: {pathlib.Path(str(command[0])).name} {' '.join(map(str, command[1:3]))} ... failed with status {status}")


def pack(folder):
    """Writes the packages and traces, unless those that are there were made from the same sources and versions."""
    made_from = [(HERE / name).read_text() for name in ("models.py", "pack_models.py")]
    made_from += [importlib.metadata.version(name) for name in ("torch", "transformers")]
    stamp, digest = folder / "stamp", hashlib.sha256("\0".join(made_from).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    say("packaging three models, as packages and as TorchScript traces")
    run(sys.executable, HERE / "pack_models.py", folder, *NAMES)
    stamp.write_text(digest)


def serve(build, folder, name, arguments):
    say(f"{name}: the answer of plain PyTorch in a process of its own")
    run(sys.executable, HERE / "reference.py", folder, name)
    say(f"{name}: serving it from C++ in four ways, {arguments.seconds:g} s each, in turns of a second")
    run(
        build / "bin/serve_package",
        "--package",
        folder / f"{name}.pt",
        "--torchscript",
        folder / f"{name}.ts",
        "--reference",
        folder / f"{name}.reference",
        "--json",
        folder / f"{name}.json",
        "--venv",
        sys.prefix,
        "--seconds",
        arguments.seconds,
        "--compare",
        *(["--interpreters", arguments.interpreters] if arguments.interpreters else []),
    )
    return json.loads((folder / f"{name}.json").read_text())


def entry(name, figures):
    """One model of demo.json."""
    rate = {way: round(figures["ways"][way]["calls_per_s"], 3) for way in figures["ways"]}
    ratios = {key: round(value, 4) for key, value in figures["ratios"].items()}
    return {
        "name": name,
        "outputs_equal": figures["outputs_equal"],
        "calls_per_s": {way: rate[way] for way in ("one_interpreter", "interpreters", "torchscript")},
        "interpreters_to_one": ratios["interpreters_to_one_interpreter"],
        "interpreters_to_torchscript": ratios["interpreters_to_torchscript"],
        "details": {
            "interpreters": figures["interpreters"],
            "threads": figures["threads"],
            "one_interpreter_one_thread_calls_per_s": rate["one_by_one"],
            "interpreters_to_one_interpreter_one_thread": ratios["interpreters_to_one_by_one"],
            "start_up_s": {"torch_imported": figures["boot_s"], "model_ready": figures["ready_s"]},
            "private_mb_per_interpreter": figures["private_mb_per_interpreter"],
            "latency_ms": {
                way: {key: round(values[f"{key}_ms"], 3) for key in ("p50", "p95", "p99")}
                for way, values in figures["ways"].items()
            },
        },
    }


def machine(load_before):
    with open("/proc/cpuinfo") as lines:
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average_before": load_before,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "transformers": importlib.metadata.version("transformers"),
    }


def table(models):
    n, t = models[0]["details"]["interpreters"], models[0]["details"]["threads"]
    heads = [
        ("model", ""),
        ("1 interp.", f"{t} threads"),
        (f"{n} interp.", f"{t} threads"),
        ("TorchScript", f"{t} threads"),
        ("1 interp.", "1 thread"),
        (f"{n} to 1,", f"{t} threads"),
        (f"{n} to 1,", f"{t} : 1 thr."),
        (f"{n} to", "TorchScript"),
        ("start-up", "s"),
        ("private", "MB each"),
        ("equal to", "PyTorch"),
    ]
    rows = []
    for model in models:
        rate, details = model["calls_per_s"], model["details"]
        rows.append(
            [
                model["name"],
                f"{rate['one_interpreter']:.1f}",
                f"{rate['interpreters']:.1f}",
                f"{rate['torchscript']:.1f}",
                f"{details['one_interpreter_one_thread_calls_per_s']:.1f}",
                f"{model['interpreters_to_one']:.2f} x",
                f"{details['interpreters_to_one_interpreter_one_thread']:.2f} x",
                f"{model['interpreters_to_torchscript']:.2f} x",
                f"{details['start_up_s']['model_ready']:.1f}",
                f"{details['private_mb_per_interpreter']:.0f}",
                "yes" if model["outputs_equal"] else "NO",
            ]
        )
    lines = [[head[0] for head in heads], [head[1] for head in heads], *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ""
    for name, *cells in lines:
        text += name.ljust(widths[0])
        text += "".join("  " + cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)) + "\n"
    return text.rstrip()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--seconds", type=float, default=10, help="for each model and each way of running it")
    parser.add_argument("--interpreters", type=int, help="the number of cores, unless given")
    arguments = parser.parse_args()
    folder = arguments.build / "demo"

    pack(folder)
    load = [round(value, 2) for value in os.getloadavg()]
    if load[0] > 0.5:
        say(f"note: this machine is busy (load average {load[0]}); the figures will show it")
    models = [entry(name, serve(arguments.build, folder, name, arguments)) for name in NAMES]
    report = {"models": models, "machine": machine(load)}
    (arguments.build / "demo.json").write_text(json.dumps(report, indent=2) + "\n")

    say(f"calls per second; medians of rounds (also in {arguments.build}/demo.json)")
    print(table(models))
    if not all(model["outputs_equal"] for model in models):
        sys.exit("demo: outputs differ from plain PyTorch's")


if __name__ == "__main__":
    main()
