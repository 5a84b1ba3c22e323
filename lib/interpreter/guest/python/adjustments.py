"""What of the standard library cannot be as in a program of its own.

multiprocessing starts Python again, as `sys.executable -c ...`, for the methods spawn and forkserver and for its resource tracker.
Inside a host program there is no such executable: another Python would know neither the modules of the host's packages nor those
that it registered. The methods say so; the tracker, which removes what a dead process left in shared memory, is done
without. Code that gives its own executable by multiprocessing.set_executable gets it.
"""


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


def apply(module):
    if module.__name__ == "multiprocessing.spawn":
        _adjust_spawn(module)
    else:
        _adjust_resource_tracker(module)
