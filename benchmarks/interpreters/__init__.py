"""Interpreters: many at once, their memory, what they leave behind, and what becomes of them."""

import importlib
import json
import subprocess
import sys

# A table is a module here; `./dev bench interpreters` runs all, by their run(), and `./dev bench interpreters cycles` one. As a
# program, `python -m interpreters.TABLE`, it does the work in a process of its own and prints one line of JSON.
TABLES = ["many", "cycles", "threads", "outcomes", "startup", "kernels"]


def in_a_process_of_its_own(table, *arguments):
    command = [sys.executable, "-m", f"interpreters.{table}", *map(str, arguments)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, cwd=__path__[0] + "/..")
    if done.returncode != 0:
        sys.exit(f"interpreters: {' '.join(command)} ended with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def run(build, tables=None):
    return {table: importlib.import_module(f"interpreters.{table}").run(build) for table in tables or TABLES}
