"""Create, use, destroy, a hundred times: what a cycle leaves behind. Three kinds: no torch, import torch alone, a training step."""

import json
import sys
import time

from interpreters import in_a_process_of_its_own

EARLY = 10
CYCLES = {"bare": 100, "import torch": 30, "model": 100}
SOURCES = {
    "bare": """
import json, threading
def answer():
    thread = threading.Thread(target=json.dumps, args=({},))
    thread.start()
    thread.join()
    return 10
""",
    "import torch": """
import torch
def answer():
    return 10
""",
    "model": """
import torch
model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16 * 62 * 62, 10))
def answer():
    output = model(torch.ones(4, 3, 64, 64))
    output.sum().backward()
    return output.shape[1]
""",
}


def work(kind, cycles):
    import deploy  # noqa: PLC0415
    from interpreters.process_memory import mappings, private_mb, threads  # noqa: PLC0415

    environment = deploy.Environment.bare() if kind == "bare" else deploy.Environment.from_venv(sys.prefix)
    rows = []
    for _ in range(cycles):
        start = time.monotonic()
        interpreter = deploy.Interpreter(environment)
        interpreter.register_module("bench", SOURCES[kind])
        with interpreter.acquire_session() as session:
            assert session.global_("bench", "answer")().to_value() == 10
        with_it = private_mb()
        del session, interpreter
        seconds = time.monotonic() - start
        rows.append(
            {"private_mb": private_mb(), "with_it": with_it, "mappings": mappings(), "threads": threads(), "seconds": seconds}
        )
    print(json.dumps({"cycles": rows, "stranded": len(deploy.stranded_interpreters()), "kept": deploy.kept_libraries()}))


def run(_build):
    reports = {}
    for kind, cycles in CYCLES.items():
        report = reports[kind] = in_a_process_of_its_own("cycles", kind, cycles)
        early, late = report["cycles"][EARLY - 1], report["cycles"][-1]
        print(
            f"{cycles} cycles of create, {kind}, destroy: private memory {early['private_mb']:.1f} MB after cycle {EARLY}, "
            f"{late['private_mb']:.1f} MB after cycle {cycles} ({early['with_it']:.0f} MB with the interpreter); mappings "
            f"{early['mappings']} and {late['mappings']}; threads {early['threads']} and {late['threads']}; "
            f"{report['stranded']} interpreters stayed, {len(report['kept'])} libraries kept",
            flush=True,
        )
    return reports


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
