"""Child processes get the environment variables of the interpreter that starts them.

C has one environment a process. What Python code sets in os.environ goes there too, because C libraries read it there
(OMP_NUM_THREADS, CUDA_VISIBLE_DEVICES), and so a program that is started without an explicit environment would get what other
interpreters have set. Here it gets what this interpreter began with, and what its own code has set and removed since: os.environ,
and the variables that were given to os.putenv directly, as in a Python of its own.
"""

import os
import posix
import sys

_variables = {}  # bytes to bytes


def _putenv(name, value, /):
    posix.putenv(name, value)
    _variables[os.fsencode(name)] = os.fsencode(value)


def _unsetenv(name, /):
    posix.unsetenv(name)
    _variables.pop(os.fsencode(name), None)


def _execv(path, argv, /):
    posix.execve(path, argv, _variables)


def _system(command):
    """As C's system(3), but that the host's reaction to SIGINT and SIGQUIT stays as it is meanwhile."""
    command = os.fsencode(command)
    if b"\0" in command:
        raise ValueError("embedded null byte")
    sys.audit("os.system", command)
    try:
        child = posix.posix_spawn("/bin/sh", ["sh", "-c", "--", command], _variables)
    except OSError:
        return 127 << 8
    while True:
        pid, status = posix.waitpid(child, 0)
        if pid == child:
            return status


def with_environment(fork_exec):
    """_posixsubprocess.fork_exec, whose sixth argument is the environment: None stands for C's."""

    def fork_exec_in_environment(args, executables, close_fds, pass_fds, cwd, env, /, *rest):
        if env is None:
            env = [name + b"=" + value for name, value in _variables.items()]
        return fork_exec(args, executables, close_fds, pass_fds, cwd, env, *rest)

    return fork_exec_in_environment


def install():
    _variables.update(os.environ._data)
    for name, function in (("putenv", _putenv), ("unsetenv", _unsetenv), ("execv", _execv), ("system", _system)):
        function.__name__ = function.__qualname__ = name
        function.__module__ = "posix"
        setattr(os, name, function)
