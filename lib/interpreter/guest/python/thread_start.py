"""threading.Thread.start does not wait for a thread that has ended before it began.

It waits until the new thread has said that it runs. A thread that gets no memory on its first steps never says so, and in CPython
start() then waits for ever. Here it raises the RuntimeError that CPython has for a thread that cannot be started.
"""

import threading

from _deploy_threads import Call, pause

_LOOK_EVERY = 0.1  # seconds; a thread that starts is waited for without a look


class _Started(threading.Event):
    """What a thread sets when it runs."""

    def watch(self, thread, call):
        self._watched = thread, call

    def wait(self, timeout=None):
        if timeout is not None:
            return super().wait(timeout)
        thread, call = self._watched
        try:
            while not self.is_set():
                if call.ended and not self.is_set():
                    _forget(thread)
                    raise RuntimeError("can't start new thread")
                try:
                    super().wait(_LOOK_EVERY)
                except MemoryError:
                    pause()
        finally:
            del self._watched
        return True


def _forget(thread):
    with threading._active_limbo_lock:
        threading._limbo.pop(thread, None)


def _watching(start):
    def start_watched(function, *arguments, **keywords):
        thread = getattr(function, "__self__", None)
        if isinstance(thread, threading.Thread):
            function = Call(function)
            started = _Started()
            started.watch(thread, function)
            thread._started = started
        return start(function, *arguments, **keywords)

    return start_watched


def install(threading):
    for name in ("_start_new_thread", "_start_joinable_thread"):
        if hasattr(threading, name):
            setattr(threading, name, _watching(getattr(threading, name)))
