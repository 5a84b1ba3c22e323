"""What of the standard library cannot be as in a program of its own, and what makes many interpreters start slowly.

multiprocessing starts Python again, as `sys.executable -c ...`, for the methods spawn and forkserver and for its resource tracker.
Inside a host program there is no such executable: another Python would know neither the modules of the host's packages nor those
that it registered. The methods say so; the tracker, which removes what a dead process left in shared memory, is done
without.

Code that gives a Python by multiprocessing.set_executable gets it. That Python has a standard library and flags of its own; it
gets the folders of the interpreter's sys.path between its own library and its own packages, and the modules that the host
registered. The servers that are started with it end with the interpreter, not with the process.

inspect finds the module of a frame by a table of all modules' files, for which it asks the file system about every folder on
every module's path; torch.library asks for frames with every operator. dataclasses compiles the text of each method, and classes
with the same fields have the same text: torch makes a hundred of these. Both together are a twentieth of the time of
`import torch`. What they answer is the same.
"""

import functools
import sys

# What a new Python executes to know the modules that are registered: the source of registered.py, and their sources.
_REGISTERED = "{}\n_sources.update({!r})\nsys.meta_path.insert(0, _Importer)\n"
# Its sys.path: its own library, the folders of this interpreter, its own packages.
_PATH = (
    "(lambda own, given, third: [p for p in own if not third(p)] + given + [p for p in own if third(p) and p not in given])"
    "(__import__('sys').path, {!r}, lambda p: 'site-packages' in p or 'dist-packages' in p)"
)


class _PathOfChild:
    """Stands for sys.path in what a new Python is given, and becomes a list there: it is pickled, or written as source text."""

    def __init__(self, paths):
        from _deploy import registered

        expression = _PATH.format(list(paths))
        if registered._sources:
            source = registered.__loader__.get_source(registered.__name__)
            source = _REGISTERED.format(source, registered._sources)
            expression = f"(exec({source!r}, {{'__name__': '_deploy_registered'}}), {expression})[1]"
        self._expression = expression

    def __reduce__(self):
        return eval, (self._expression,)

    def __repr__(self):
        return self._expression


def _adjust_spawn(spawn):
    spawn._python_exe = None
    given = spawn.get_executable

    def get_executable():
        executable = given()
        if executable is None:
            raise RuntimeError(
                "multiprocessing cannot start a new Python (start method 'spawn' or 'forkserver'): this interpreter is embedded in "
                "a host program and has no executable of its own. Use the host's replicas or threads, or give a Python by "
                "multiprocessing.set_executable"
            )
        return executable

    spawn.get_executable = get_executable
    prepare = spawn.get_preparation_data

    @functools.wraps(prepare)
    def get_preparation_data(name):
        data = prepare(name)
        if "sys_path" in data:
            data["sys_path"] = _PathOfChild(data["sys_path"])
        return data

    spawn.get_preparation_data = get_preparation_data


def _adjust_subprocess(subprocess):
    # The interpreter's own flags say that it is embedded.
    subprocess._args_from_interpreter_flags = lambda: [f"-W{option}" for option in sys.warnoptions]
    import _posixsubprocess

    from _deploy import child_environment

    # multiprocessing takes it from that module.
    _posixsubprocess.fork_exec = subprocess._fork_exec = child_environment.with_environment(_posixsubprocess.fork_exec)


def _end_with_interpreter(server, descriptor, pid):
    """A server ends when the last process that may ask it has closed its end of a pipe: this one as well."""
    import os
    import time
    from multiprocessing import util

    def end():
        if getattr(server, descriptor) is None:
            return
        os.close(getattr(server, descriptor))
        setattr(server, descriptor, None)
        try:
            for _ in range(100):
                if getattr(server, pid) is None or os.waitpid(getattr(server, pid), os.WNOHANG)[0]:
                    break
                time.sleep(0.01)
        except ChildProcessError:
            pass
        setattr(server, pid, None)

    util.Finalize(None, end, exitpriority=-100)  # after all that uses it


def _adjust_forkserver(forkserver):
    server = forkserver._forkserver
    ensure_running = server.ensure_running

    def ensure_running_and_end():
        is_new = server._forkserver_pid is None
        ensure_running()
        if is_new:
            _end_with_interpreter(server, "_forkserver_alive_fd", "_forkserver_pid")

    server.ensure_running = forkserver.ensure_running = ensure_running_and_end


def _adjust_resource_tracker(resource_tracker):
    from multiprocessing import spawn

    tracker = resource_tracker._resource_tracker
    send = tracker._send

    def send_where_there_is_a_tracker(command, name, kind):
        if spawn._python_exe is not None:
            send(command, name, kind)

    tracker._send = send_where_there_is_a_tracker
    ensure_running = tracker.ensure_running

    def ensure_running_and_end():
        is_new = tracker._pid is None
        ensure_running()
        if is_new and tracker._pid is not None:
            _end_with_interpreter(tracker, "_fd", "_pid")

    tracker.ensure_running = resource_tracker.ensure_running = ensure_running_and_end


def _adjust_inspect(inspect):
    search = inspect.getmodule
    vars_of = type(sys).__getattribute__  # does not execute a deferred module

    @functools.wraps(search)
    def getmodule(object, _filename=None):
        if inspect.isframe(object) and _filename is not None and object.f_globals.get("__file__") == _filename:
            name = object.f_globals.get("__name__")
            module = sys.modules.get(name) if isinstance(name, str) else None
            if inspect.ismodule(module) and vars_of(module, "__dict__") is object.f_globals:
                return module
        return search(object, _filename)

    inspect.getmodule = getmodule


def _adjust_asyncio_events(events):
    """A thread of the host is to a call what the main thread is to a program: get_event_loop makes it a loop, which is kept for the
    thread's next call."""
    import threading

    policy = events.BaseDefaultEventLoopPolicy
    given = policy.get_event_loop

    @functools.wraps(given)
    def get_event_loop(self):
        local = self._local
        is_of_host = isinstance(threading.current_thread(), threading._DummyThread)
        if is_of_host and local._loop is None and not local._set_called:
            self.set_event_loop(self.new_event_loop())
        return given(self)

    policy.get_event_loop = get_event_loop


def _adjust_dataclasses(dataclasses):
    @functools.lru_cache(maxsize=16)
    def compiled(text):
        return compile(text, "<string>", "exec", dont_inherit=True)

    def execute(text, *scopes):
        exec(compiled(text), *scopes)

    dataclasses.exec = execute


def _adjust_threading(threading):
    from _deploy import thread_start

    thread_start.install(threading)


_ADJUSTMENTS = {
    "asyncio.events": _adjust_asyncio_events,
    "dataclasses": _adjust_dataclasses,
    "inspect": _adjust_inspect,
    "multiprocessing.forkserver": _adjust_forkserver,
    "multiprocessing.resource_tracker": _adjust_resource_tracker,
    "multiprocessing.spawn": _adjust_spawn,
    "subprocess": _adjust_subprocess,
    "threading": _adjust_threading,
}


def apply(module):
    _ADJUSTMENTS[module.__name__](module)
