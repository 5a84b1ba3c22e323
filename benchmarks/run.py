"""Runs the benchmarks that are named, or all, and writes BUILD/bench/TOPIC.json for each. Of one with tables some may be named."""

import argparse
import importlib
import json
import os
import pathlib

TOPICS = ["call_cost", "scaling", "interpreters", "loader", "heap", "package", "packing"]


def chosen(words, parser):
    """The topics among the words, each with those of its tables that follow it."""
    topics = {}
    for word in words:
        last = next(reversed(topics), None)
        if word in TOPICS:
            topics[word] = []
        elif last and word in getattr(importlib.import_module(last), "TABLES", ()):
            topics[last].append(word)
        else:
            tables = "; ".join(f"{t}: {' '.join(m.TABLES)}" for t in TOPICS if hasattr(m := importlib.import_module(t), "TABLES"))
            parser.error(f"no benchmark {word}; there are {', '.join(TOPICS)}, and after one its tables ({tables})")
    return topics or dict.fromkeys(TOPICS, [])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="TOPIC [TABLE ...]", help=", ".join(TOPICS))
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    arguments = parser.parse_args()

    folder = arguments.build / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    for topic, tables in chosen(arguments.topics, parser).items():
        module = importlib.import_module(topic)
        load = os.getloadavg()
        print(f"\033[1m==> {topic}: {module.__doc__.splitlines()[0]}\033[0m (load average {load[0]:.2f})", flush=True)
        file = folder / f"{topic}.json"
        if tables:
            report = {**(json.loads(file.read_text()) if file.exists() else {}), **module.run(arguments.build, tables)}
        else:
            report = module.run(arguments.build)
        file.write_text(json.dumps({**report, "load_average_before": load}, indent=2) + "\n")


if __name__ == "__main__":
    main()
