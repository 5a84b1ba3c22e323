"""Creates, uses and closes COUNT interpreters with torch, ROUNDS times, and prints the figures as JSON."""

import json
import sys
import time

import deploy


def private_mb():
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024


def main():
    count, rounds = map(int, sys.argv[1:])
    environment = deploy.Environment.from_venv(sys.prefix)
    environment.preload = ["torch"]
    seconds, after = [], []
    for _ in range(rounds):
        before = private_mb()
        start = time.monotonic()
        manager = deploy.InterpreterManager(interpreters=count, environment=environment)
        for interpreter in manager.interpreters:
            with interpreter.acquire_session() as session:
                total = session.global_("torch", "ones")(2, 3).call_method("sum").call_method("item").to_value()
                assert total == 6.0
        seconds.append(time.monotonic() - start)
        each = (private_mb() - before) / count
        manager.close()
        after.append(private_mb())
    print(
        json.dumps({"seconds": seconds, "private_mb_each": each, "private_mb_after": after[-1], "private_mb_after_rounds": after})
    )


if __name__ == "__main__":
    main()
