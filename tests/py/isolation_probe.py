"""What the settings of isolation_table.py do, in a process of its own: `isolation_probe.py ROW...` (indices) prints a JSON list.

Of each row: how A, B, the host, a process that B starts and another thread of the host read it, before and after A set it.
"""

import concurrent.futures
import json
import os
import sys

from isolation_table import ROWS

# The functions by which each place reads and sets. Places are Python processes or interpreters; `guest`: it is an interpreter.
PLACE = """
import ctypes, os, subprocess, sys

def sees(function):
    try:
        function()
        return True
    except Exception:
        return False

def scope(imports):
    names = {"ctypes": ctypes, "os": os, "subprocess": subprocess, "sys": sys, "sees": sees, "guest": GUEST}
    for name in imports.split():
        names[name] = __import__(name)
    return names

def read(expression, imports):
    return repr(eval(expression, scope(imports)))

def change(statements, imports):
    try:
        exec(statements, scope(imports))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
"""


def in_child(row):
    """A program for `python -c` that prints how a fresh process reads the row."""
    return f"GUEST = False\n{PLACE}\nprint(read({row.read!r}, {row.imports!r}))\n"


def main():
    import deploy

    host = {"GUEST": False}
    exec(PLACE, host)
    rows = [ROWS[int(index)] for index in sys.argv[1:]]
    os.chdir("/")
    with (
        deploy.InterpreterManager(2) as manager,
        concurrent.futures.ThreadPoolExecutor(1) as other_thread,
    ):
        manager.register_module("place", "GUEST = True\n" + PLACE)
        manager.register_module("child", "import subprocess\ndef run(python, program):\n"
                                "    done = subprocess.run([python, '-c', program], capture_output=True, text=True)\n"
                                "    return done.stdout.strip() or done.stderr\n")  # fmt: skip
        a, b = manager.interpreters

        def inside(interpreter, module, name, *arguments):
            with interpreter.acquire_session() as session:
                return session.global_(module, name)(*arguments).to_value()

        def look(row):
            return {
                "A": inside(a, "place", "read", row.read, row.imports),
                "B": inside(b, "place", "read", row.read, row.imports),
                "host": host["read"](row.read, row.imports),
                "thread": other_thread.submit(host["read"], row.read, row.imports).result(),
                "child": inside(b, "child", "run", sys.executable, in_child(row)) if row.child is not None else None,
            }

        results = []
        for row in rows:
            before = look(row) if not row.error else None
            with a.acquire_session() as session:
                error = session.global_("place", "change")(row.set, row.imports).to_value()
                same = session.global_("place", "read")(row.read, row.imports).to_value() if not row.error else None
            after = look(row) if not row.error else None
            undone = inside(a, "place", "change", row.undo + "\nvars(sys).pop('row', None)", row.imports)  # where rows keep things
            results.append({"before": before, "error": error, "same": same, "after": after, "undone": undone})
        print(json.dumps(results))


main()
