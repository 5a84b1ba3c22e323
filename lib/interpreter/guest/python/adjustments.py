"""What of the standard library cannot be as in a program of its own, and what makes many interpreters start slowly.

multiprocessing starts Python again, as `sys.executable -c ...`, for the methods spawn and forkserver and for its resource tracker.
Inside a host program there is no such executable: another Python would know neither the modules of the host's packages nor those
that it registered. The methods say so; the tracker, which removes what a dead process left in shared memory, is done
without. Code that gives its own executable by multiprocessing.set_executable gets it.

inspect finds the module of a frame by a table of all modules' files, for which it asks the file system about every folder on
every module's path; torch.library asks for frames with every operator. dataclasses compiles the text of each method, and classes
with the same fields have the same text: torch makes a hundred of these. Both together are a twentieth of the time of
`import torch`. What they answer is the same.
"""

import functools
import sys


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


def _adjust_resource_tracker(resource_tracker):
    from multiprocessing import spawn

    tracker = resource_tracker._resource_tracker
    send = tracker._send

    def send_where_there_is_a_tracker(command, name, kind):
        if spawn._python_exe is not None:
            send(command, name, kind)

    tracker._send = send_where_there_is_a_tracker


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


def _adjust_dataclasses(dataclasses):
    @functools.lru_cache(maxsize=16)
    def compiled(text):
        return compile(text, "<string>", "exec", dont_inherit=True)

    def execute(text, *scopes):
        exec(compiled(text), *scopes)

    dataclasses.exec = execute


_ADJUSTMENTS = {
    "dataclasses": _adjust_dataclasses,
    "inspect": _adjust_inspect,
    "multiprocessing.resource_tracker": _adjust_resource_tracker,
    "multiprocessing.spawn": _adjust_spawn,
}


def apply(module):
    _ADJUSTMENTS[module.__name__](module)
