"""What Python code prints in the process of verify, line by line, for the `on_output` of the process that asked for it.

The lines go through a pipe, one JSON list a line. The process that asked writes the last one itself, when the other has ended: a
child that the other one left behind may hold the pipe open for ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator

Output = Callable[[int, str, str], object]

_LAST = b"null\n"


@contextlib.contextmanager
def relayed(on_output: Output | None) -> Iterator[int | None]:
    """The descriptor for sender(), in a process that inherits it; None where nobody wants the lines. A thread calls `on_output`,
    and what that raises goes to sys.unraisablehook, as it does where the interpreters are in this process."""
    if on_output is None:
        yield None
        return
    reading, writing = os.pipe()
    reader = threading.Thread(target=_deliver, args=(reading, on_output), name="deploy-output", daemon=True)
    reader.start()
    try:
        yield writing
    finally:
        _write(writing, b"\n" + _LAST)
        os.close(writing)
        reader.join()


def sender(descriptor: int | None) -> Output | None:
    """An `on_output` that sends its lines to the descriptor."""
    if descriptor is None:
        return None
    lock = threading.Lock()

    def send(interpreter: int, stream: str, line: str) -> None:
        text = json.dumps([interpreter, stream, line]).encode() + b"\n"
        with lock:
            _write(descriptor, text)

    return send


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _deliver(descriptor: int, on_output: Output) -> None:
    with os.fdopen(descriptor, "rb") as stream:
        for text in stream:
            if text == _LAST:
                return
            try:
                line = json.loads(text)
            except ValueError:  # an empty line, or half of one by a process that was ended
                continue
            _call(on_output, *line)


def _call(on_output: Output, *line: object) -> None:
    try:
        on_output(*line)  # type: ignore[arg-type]
    except BaseException as error:  # of whatever kind: the thread goes on
        problem = {
            "exc_type": type(error),
            "exc_value": error,
            "exc_traceback": error.__traceback__,
            "err_msg": "Exception ignored in on_output",
            "object": on_output,
        }
        sys.unraisablehook(types.SimpleNamespace(**problem))  # type: ignore[arg-type]
