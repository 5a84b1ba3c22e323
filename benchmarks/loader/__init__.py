"""The loader against the system's: relocation, thread-local variables, exceptions, unloading, pages."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import sysconfig

SITE_PACKAGES = pathlib.Path(sysconfig.get_path("purelib"))
FIXTURES = [
    "relative", "relr", "user_now", "ifunc_now", "diamond", "versions_user_new", "tls_general", "tls_initial",
    "tls_descriptors", "tls_destructors", "life_root", "throw_within", "catcher", "threads", "unique_a", "static_objects",
]  # fmt: skip


def ask(program, *arguments):
    environment = os.environ | {"LD_LIBRARY_PATH": str(SITE_PACKAGES / "torch/lib")}
    done = subprocess.run([str(program), *map(str, arguments)], check=False, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"loader: {program.name} {' '.join(map(str, arguments))} ended with status {done.returncode}")
    return json.loads(done.stdout)


def show(what, figure, unit, ratio=None, asked=None):
    tail = "" if ratio is None else f"   ratio {ratio:5.2f}" + ("" if asked is None else f"   (asked: {asked} at the most)")
    print(f"{what:<62}{figure:9.2f} {unit:<3}{tail}", flush=True)


def relocation(program, rounds=7, replays=4):
    taken = []
    for _ in range(rounds + 1):
        (system,) = ask(program, "relocation-by-system")["milliseconds"]
        first, *replayed = ask(program, "relocation-by-namespaces", 1 + replays)["milliseconds"]
        taken.append({"system": system, "first": first, "replayed": statistics.median(replayed)})
    taken = taken[1:]  # the first one filled the page cache
    report = {"milliseconds": {key: statistics.median(one[key] for one in taken) for key in taken[0]}, "rounds": taken}
    for key, label, asked in (("first", "first", 0.7), ("replayed", "replayed", 0.2)):
        report[f"{label}_to_system"] = statistics.median(one[key] / one["system"] for one in taken)
        show(
            f"libtorch_cpu mapped and relocated, {label} namespace",
            report["milliseconds"][key],
            "ms",
            report[f"{label}_to_system"],
            asked,
        )
    show("  the same by dlopen(RTLD_NOW)", report["milliseconds"]["system"], "ms")
    return report


def against_system(rounds, key):
    system = statistics.median(one[key]["system"] for one in rounds)
    private = statistics.median(one[key]["private"] for one in rounds)
    return {
        "system": system,
        "private": private,
        "ratio": statistics.median(one[key]["private"] / one[key]["system"] for one in rounds),
    }


def tls(program):
    rounds = ask(program, "tls", 15)["rounds"]
    report = {"nanoseconds": {key: against_system(rounds, key) for key in rounds[0]}, "rounds": rounds}
    for key, label in (("general", "__tls_get_addr"), ("descriptors", "TLS descriptors")):
        one = report["nanoseconds"][key]
        show(f"thread-local variable by {label}", one["private"], "ns", one["ratio"], 1.1)
    return report


def throws(program):
    rounds = ask(program, "throw", 15)["rounds"]
    report = {"nanoseconds": {key: against_system(rounds, key) for key in rounds[0]}, "rounds": rounds}
    for depth in (1, 10, 50):
        one = report["nanoseconds"][f"depth_{depth}_threads_1"]
        show(f"throw and catch, {depth} frames", one["private"] / 1e3, "us", one["ratio"], 1.1)
    for depth in (1, 10, 50):
        alone, both = f"depth_{depth}_threads_1", f"depth_{depth}_threads_2"
        # In wall-clock time of a machine that has other work to do this says as much of that; the JSON has it.
        ratio = statistics.median(one[both]["private"] / one[alone]["private"] for one in rounds)
        report[f"depth_{depth}_two_threads_to_one"] = ratio
        per_second = report[f"depth_{depth}_throws_per_second_and_thread"] = {
            "1": 1e9 / report["nanoseconds"][alone]["private"],
            "2": 1e9 / report["nanoseconds"][both]["private"],
        }
        show(f"  {depth} frames in two threads at once, thousand a second and thread", per_second["2"] / 1e3, "", ratio)
    return report


def growth(report):
    after = list(report["after"].values())
    tenth, last = report["after"]["10"], after[-1]
    return {
        **report,
        "private_kb_more": last["private_kb"] - tenth["private_kb"],
        "mappings_more": last["mappings"] - tenth["mappings"],
    }


def unloading(program, interpreters, fixtures):
    libraries = [fixtures / f"libfx_{name}.so" for name in FIXTURES]
    report = {
        "fixtures": growth(ask(program, "come-and-go", 1000, *libraries)),
        "interpreters": growth(ask(interpreters, "come-and-go", 100)),
    }
    for key, label in (
        ("fixtures", f"{len(libraries)} libraries loaded and unloaded 1,000 times"),
        ("interpreters", "a bare interpreter 100 times"),
    ):
        one = report[key]
        print(
            f"{label}: from the 10th to the last {one['private_kb_more']:+} kB private of {one['after']['10']['private_kb']} kB,"
            f" {one['mappings_more']:+} mappings of {one['after']['10']['mappings']}",
            flush=True,
        )
    return report


def pages(interpreters):
    report = ask(interpreters, "pages", 8, SITE_PACKAGES, "libtorch_cpu.so")
    print(
        f"text of libtorch_cpu in 8 interpreters: {report['mappings']} mappings, {report['rss_kb'] / 1024:.0f} MB resident in all,"
        f" {report['pss_kb'] / 1024:.0f} MB of memory"
    )
    return report


def run(build):
    program, interpreters = build / "bin/bench_loader", build / "bin/bench_loader_interpreters"
    return {
        "relocation": relocation(program),
        "tls": tls(program),
        "throw": throws(program),
        "unloading": unloading(program, interpreters, build / "tests/cpp/loader/libs"),
        "pages": pages(interpreters),
    }
