"""Pure-Python programs inside an interpreter against the plain Python that it was made from: the time that each takes."""

import pathlib
import statistics
import subprocess
import sys

import deploy
from interpreters import pure_kernels

HERE = pathlib.Path(__file__).resolve().parent
# Where a process lies in memory makes up to 10 % (address space layout randomisation): both sides are started anew again and again.
STARTS = 9
ROUNDS = 4  # in each, after one that warms up
SERVE = "import pure_kernels\nwhile True:\n    print(*pure_kernels.timed(input()), sep='\\t', flush=True)\n"


class Plain:
    """The Python of the virtual environment's base, in a process of its own, which does one kernel for each line that it reads."""

    def __init__(self):
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        self.path = f"{sys.base_prefix}/bin/python{version}"
        self._process = subprocess.Popen(
            [self.path, "-c", SERVE], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def timed(self, name):
        print(name, file=self._process.stdin, flush=True)
        seconds, found = self._process.stdout.readline().rstrip("\n").split("\t")
        return float(seconds), found

    def close(self):
        self._process.terminate()
        self._process.wait()


def pair_of(plain, timed, name, plain_first):
    """One run of a kernel in both: (seconds outside, seconds inside)."""
    if plain_first:
        (outside, expected), (inside, found) = plain.timed(name), timed(name).to_value()
    else:
        (inside, found), (outside, expected) = timed(name).to_value(), plain.timed(name)
    if found != expected:
        sys.exit(f"kernels: {name} finds {found} inside, {expected} in {plain.path}")
    return outside, inside


def pairs_of_one_start(report):
    """Adds the runs of a plain process and of an interpreter to `report`: {kernel: [(seconds outside, seconds inside)]}."""
    plain = Plain()
    interpreter = deploy.Interpreter(deploy.Environment(extra_paths=[HERE]))
    with interpreter.acquire_session() as session:
        timed = session.global_("pure_kernels", "timed")
        for name in pure_kernels.KERNELS:
            report[name] += [pair_of(plain, timed, name, i % 2 == 0) for i in range(ROUNDS + 1)][1:]
    plain.close()
    return plain.path


def run(_build):
    pairs = {name: [] for name in pure_kernels.KERNELS}
    for _ in range(STARTS):
        path = pairs_of_one_start(pairs)
    report = {"plain": path, "python": deploy.python_version(), "starts": STARTS, "rounds": ROUNDS, "kernels": {}}
    for name, times in pairs.items():
        outside, inside = zip(*times, strict=True)
        figures = {
            "plain_seconds": statistics.median(outside),
            "inside_seconds": statistics.median(inside),
            "ratio": statistics.median(b / a for a, b in times),
            "ratio_of_best": min(inside) / min(outside),
        }
        report["kernels"][name] = figures
        print(f"{name:14} inside / plain {figures['ratio']:.3f} (of the best rounds {figures['ratio_of_best']:.3f})", flush=True)
    return report
