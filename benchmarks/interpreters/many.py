"""Many interpreters in one process, each used by a thread of its own: time to boot, memory, equal outputs."""

import json
import statistics
import sys
import threading
import time

from interpreters import in_a_process_of_its_own

BARE = """
def answer(n):
    return sum(i * i for i in range(n)) % 1000003
"""
TORCH = """
import torch
torch.set_num_threads(1)
torch.manual_seed(7)
model = torch.nn.Sequential(*(layer for _ in range(4) for layer in (torch.nn.Linear(256, 256), torch.nn.ReLU()))).eval()
x = torch.randn(16, 256)
def answer(n):
    with torch.no_grad():
        return [float(model(x).double().sum()) for _ in range(n)][-1]
"""


def on_threads(count, work):
    """Runs work(i) for each i on a thread of its own, all at once; the seconds that it took, and the results."""
    results = [None] * count

    def body(i):
        results[i] = work(i)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(count)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - start, results


def work(kind, count):
    import deploy  # noqa: PLC0415 - in the worker only
    from interpreters.process_memory import private_mb  # noqa: PLC0415

    environment = deploy.Environment.from_venv(sys.prefix) if kind == "torch" else deploy.Environment.bare()

    def boot(_i):
        interpreter = deploy.Interpreter(environment)
        interpreter.register_module("bench", TORCH if kind == "torch" else BARE)
        with interpreter.acquire_session() as session:
            session.import_module("bench")
        return interpreter

    def use(interpreter):
        with interpreter.acquire_session() as session:
            return session.global_("bench", "answer")(50).to_value()

    boot(0)  # the files are in the page cache, the loader knows them
    before = private_mb()
    start = time.monotonic()
    one_by_one = [boot(i) for i in range(min(count, 4))]
    alone = (time.monotonic() - start) / len(one_by_one)
    del one_by_one
    together, interpreters = on_threads(count, boot)
    _, answers = on_threads(count, lambda i: use(interpreters[i]))
    report = {
        "interpreters": count,
        "boot_seconds_one_by_one_each": alone,
        "boot_seconds_together_each": together / count,
        "private_mb_each": (private_mb() - before) / count,
        "heap_mb_each": statistics.mean(i.memory().heap for i in interpreters) / 1e6,
        "outputs_equal": len(set(answers)) == 1,
    }
    interpreters.clear()
    report["private_mb_left"] = private_mb() - before
    report["stranded"] = len(deploy.stranded_interpreters())
    print(json.dumps(report))


def run(_build):
    report = {}
    for kind, count in (("bare", 64), ("torch", 24)):
        report[kind] = r = in_a_process_of_its_own("many", kind, count)
        print(
            f"{count} interpreters, {kind}: boot {r['boot_seconds_one_by_one_each'] * 1000:.0f} ms each one by one, "
            f"{r['boot_seconds_together_each'] * 1000:.0f} ms each on {count} threads; {r['private_mb_each']:.1f} MB private each "
            f"(heap {r['heap_mb_each']:.1f} MB); outputs {'equal' if r['outputs_equal'] else 'DIFFER'}; "
            f"{r['private_mb_left']:.1f} MB left when they are gone",
            flush=True,
        )
    return report


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
