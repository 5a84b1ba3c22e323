"""Create, import torch, run a model, destroy: what a cycle leaves behind."""

import json
import sys
import time

from interpreters import in_a_process_of_its_own

CYCLES = 100
MODEL = """
import torch
model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(10)).eval()
def answer():
    with torch.no_grad():
        return model(torch.ones(4, 3, 64, 64)).shape[1]
"""


def work(cycles):
    import deploy  # noqa: PLC0415
    from interpreters.process_memory import mappings, private_mb  # noqa: PLC0415

    environment = deploy.Environment.from_venv(sys.prefix)
    rows = []
    for _ in range(cycles):
        start = time.monotonic()
        interpreter = deploy.Interpreter(environment)
        interpreter.register_module("bench", MODEL)
        with interpreter.acquire_session() as session:
            assert session.global_("bench", "answer")().to_value() == 10
        with_it = private_mb()
        del session, interpreter
        rows.append({"private_mb": private_mb(), "with_it": with_it, "mappings": mappings(), "seconds": time.monotonic() - start})
    print(json.dumps({"cycles": rows, "stranded": len(deploy.stranded_interpreters())}))


def run(_build):
    report = in_a_process_of_its_own("cycles", CYCLES)
    early, late = report["cycles"][9], report["cycles"][-1]
    print(
        f"{CYCLES} cycles of create, import torch, run a model, destroy: {early['private_mb']:.1f} MB private after cycle 10, "
        f"{late['private_mb']:.1f} MB after cycle {CYCLES}; mappings {early['mappings']} and {late['mappings']}; "
        f"{report['stranded']} stayed",
        flush=True,
    )
    return report


if __name__ == "__main__":
    work(int(sys.argv[1]))
