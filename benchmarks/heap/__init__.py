"""An interpreter's heap against glibc's malloc: large blocks, in processor time of an operation."""

import json
import statistics
import subprocess
import sys

KILO, MEGA, GIGA = 1 << 10, 1 << 20, 1 << 30
OPERATIONS = {
    "malloc": "malloc and free",
    "calloc": "calloc and free",
    "aligned": "posix_memalign(64) and free",
    "grow": "realloc from a sixteenth, by a sixteenth",
    "shrink": "malloc, realloc to a half, a quarter, an eighth",
    "reuse": "four living blocks, the oldest is freed",
}
SIZES = [64 * KILO, 128 * KILO, 256 * KILO, MEGA, 4 * MEGA, 16 * MEGA, 32 * MEGA, 64 * MEGA, 256 * MEGA, GIGA, 4 * GIGA]
THREADS = [1, 2, 4, 8]
MOST_TOUCHED = GIGA  # bytes written at one time, by all threads
ROUNDS = 5
TABLES = tuple(OPERATIONS)


def name_of(size):
    return next(f"{size // unit} {name}" for unit, name in ((GIGA, "GB"), (MEGA, "MB"), (KILO, "kB")) if size >= unit)


def ask(build, *arguments):
    """One process for each figure: what glibc and the heap have learned from other sizes is not in it."""
    done = subprocess.run([str(build / "bin/bench_heap"), *map(str, arguments)], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"heap: bench_heap {' '.join(map(str, arguments))} ended with status {done.returncode}")
    return json.loads(done.stdout)


def row(build, operation, size, touch):
    """By number of threads: the medians, and that of the ratios within a round."""
    living = 4 if operation == "reuse" else 1
    figures = {}
    for threads in THREADS:
        if touch and size * threads * living > MOST_TOUCHED:
            continue
        rounds = ask(build, operation, size, touch, threads, ROUNDS)
        figures[threads] = {
            "glibc": statistics.median(one["glibc"] for one in rounds),
            "heap": statistics.median(one["heap"] for one in rounds),
            "ratio": statistics.median(one["heap"] / one["glibc"] for one in rounds),
        }
    return figures


def run(build, tables=TABLES):
    report = {}
    for operation in tables:
        print(f"{OPERATIONS[operation]}: microseconds with glibc, ratio of the heap, for {', '.join(map(str, THREADS))} threads")
        report[operation] = {}
        for touch in (0, 1):
            for size in SIZES:
                figures = row(build, operation, size, touch)
                if not figures:
                    continue
                label = f"{name_of(size)}{', written' if touch else ''}"
                report[operation][label] = figures
                cells = "".join(f"{one['glibc'] / 1e3:12.2f} {one['ratio']:5.2f}" for one in figures.values())
                print(f"  {label:<18}{cells}", flush=True)
    return report
