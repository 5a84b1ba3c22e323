"""The cost of a call: C++ to an identity model with one small tensor in and out, against the same call inside plain Python."""

import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROUNDS = 9
LABELS = {
    "plain_python": "the call inside a plain Python process",
    "inside": "the call from Python code inside an interpreter",
    "call": "ReplicatedObject: model(x) from C++",
    "in_session": "Object in a held session: model(x).to_value()",
    "session": "acquire_session() and its release alone",
}


def ask(process):
    process.stdin.write("round\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        sys.exit(f"call_cost: {process.args[0]} ended with status {process.wait()}")
    return json.loads(answer)


def run(build):
    model = HERE / "identity_model.py"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen([sys.executable, str(model)], **pipes) as plain,
        subprocess.Popen([str(build / "bin/bench_call_cost"), sys.prefix, str(model)], **pipes) as deploy,
    ):
        rounds = [{"plain_python": ask(plain), **ask(deploy)} for _ in range(ROUNDS + 1)][1:]
        for process in (plain, deploy):
            process.stdin.write("\n")
            process.stdin.close()

    medians = {key: statistics.median(one[key] for one in rounds) for key in LABELS}
    more = statistics.median(one["call"] - one["plain_python"] for one in rounds)
    for key, label in LABELS.items():
        print(f"{label:<52}{medians[key]:8.2f} us")
    print(f"{'from C++ more than inside plain Python':<52}{more:8.2f} us   (asked: 3 at the most)")
    return {"microseconds": medians, "call_more_than_plain_python": more, "rounds": rounds}
