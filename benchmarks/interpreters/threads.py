"""Short threads of the host that call in."""

import json
import sys
import threading
import time

from interpreters import in_a_process_of_its_own

THREADS = 100_000
MODULE = """
def answer(x):
    return [x] * 100
"""


def work(count):
    import deploy  # noqa: PLC0415
    from interpreters.process_memory import mappings, private_mb  # noqa: PLC0415

    interpreter = deploy.Interpreter(deploy.Environment.bare())
    interpreter.register_module("bench", MODULE)

    def call():
        with interpreter.acquire_session() as session:
            session.global_("bench", "answer")(1)

    def short_threads(n):
        for _ in range(n):
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()

    short_threads(count // 10)
    before = {"private_mb": private_mb(), "heap_mb": interpreter.memory().heap / 1e6, "mappings": mappings()}
    start = time.monotonic()
    short_threads(count)
    after = {"private_mb": private_mb(), "heap_mb": interpreter.memory().heap / 1e6, "mappings": mappings()}
    each = (time.monotonic() - start) / count * 1e6
    print(json.dumps({"threads": count, "microseconds_each": each, "before": before, "after": after}))


def run(_build):
    report = in_a_process_of_its_own("threads", THREADS)
    before, after = report["before"], report["after"]
    print(
        f"{THREADS} threads that call in and end: {before['private_mb']:.1f} MB private before, "
        f"{after['private_mb']:.1f} MB after; "
        f"heap {before['heap_mb']:.1f} and {after['heap_mb']:.1f} MB; {report['microseconds_each']:.0f} us each",
        flush=True,
    )
    return report


if __name__ == "__main__":
    work(int(sys.argv[1]))
