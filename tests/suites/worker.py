"""Runs the tests of one module in a process of its own: in plain Python, there on a second thread, or in an interpreter.

    worker.py plain|thread|inside TASK

TASK is a file of JSON: {"runner": a function of subject.py, "module", "record": the file for the results, "skip": tests,
"paths": folders for sys.path, "extend": see subject.py}.
"""

import json
import pathlib
import sys
import threading

SUBJECT = pathlib.Path(__file__).parent / "subject.py"


def in_plain_python(task):
    sys.path[:0] = task["paths"]
    scope = {"__name__": "suite_subject", "__file__": str(SUBJECT)}
    exec(compile(SUBJECT.read_text(), SUBJECT, "exec"), scope)
    scope[task["runner"]](task["module"], task["record"], task["skip"], task["extend"])


def in_an_interpreter(task):
    import deploy

    environment = deploy.Environment.from_venv(sys.prefix)
    environment.extra_paths = task["paths"]
    with deploy.InterpreterManager(interpreters=1, environment=environment) as manager:
        manager.register_module("suite_subject", SUBJECT.read_text())
        with manager.acquire_session() as session:
            session.global_("suite_subject", task["runner"])(task["module"], task["record"], task["skip"], task["extend"])


def main():
    mode, path = sys.argv[1:]
    task = json.loads(pathlib.Path(path).read_text())
    sys.argv[:] = ["suite"]
    if mode == "plain":
        in_plain_python(task)
    elif mode == "thread":
        thread = threading.Thread(target=in_plain_python, args=(task,))
        thread.start()
        thread.join()
    else:
        in_an_interpreter(task)


if __name__ == "__main__":
    main()
