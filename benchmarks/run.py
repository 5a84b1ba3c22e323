"""Runs the benchmarks that are named, or all, and writes BUILD/bench/TOPIC.json for each."""

import argparse
import importlib
import json
import os
import pathlib

TOPICS = ["call_cost", "scaling", "interpreters", "loader", "package", "packing"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=", ".join(TOPICS))
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    arguments = parser.parse_args()
    if unknown := set(arguments.topics) - set(TOPICS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(TOPICS)}")

    folder = arguments.build / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    for topic in arguments.topics or TOPICS:
        module = importlib.import_module(topic)
        load = os.getloadavg()
        print(f"\033[1m==> {topic}: {module.__doc__.splitlines()[0]}\033[0m (load average {load[0]:.2f})", flush=True)
        report = module.run(arguments.build)
        (folder / f"{topic}.json").write_text(json.dumps({**report, "load_average_before": load}, indent=2) + "\n")


if __name__ == "__main__":
    main()
