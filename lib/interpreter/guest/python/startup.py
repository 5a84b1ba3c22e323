"""The last step of boot, on Python's main thread: makes sys describe the environment that the interpreter works in."""

import _sitebuiltins
import builtins
import posix
import sys

from _deploy import child_environment, site_folders

_SITE_PACKAGES = f"/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def _prefixes(paths):
    """sys.prefix and sys.base_prefix: a virtual environment with a folder on sys.path, and the Python it was made from."""
    for path in paths:
        if path.endswith(_SITE_PACKAGES):
            prefix = path.removesuffix(_SITE_PACKAGES) or "/"
            try:
                with open(f"{prefix}/pyvenv.cfg", encoding="utf-8") as settings:
                    for line in settings:
                        key, _, value = line.partition("=")
                        if key.strip() == "home":
                            return prefix, value.strip().rpartition("/")[0] or "/"
            except OSError:
                pass
            return prefix, prefix
    return None


def _main_thread_of_a_child():
    """After a fork the thread that forked is the main one. CPython before 3.11.4 leaves it what it was: a thread that the host
    started, which has no lock that threading's own end could wait for (gh-102512)."""
    threading = sys.modules.get("threading")
    if threading is None:  # in a sub-interpreter
        return
    thread = threading.main_thread()
    if isinstance(thread, threading._DummyThread):
        thread.__class__ = threading._MainThread
        thread._name = "MainThread"
        thread._daemonic = False
        if getattr(thread, "_tstate_lock", thread) is None:
            thread._set_tstate_lock()


def _add_site_builtins():
    """What `site`, which is not imported here, adds to the builtins of every Python. exit and quit raise SystemExit, which ends a
    call and never the process."""
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()
    builtins.copyright = _sitebuiltins._Printer("copyright", sys.copyright)
    builtins.credits = _sitebuiltins._Printer("credits", "See https://www.python.org for those who make Python.")
    builtins.license = _sitebuiltins._Printer("license", "See https://www.python.org/psf/license/")


def run(paths, first_site, defer_imports, is_subinterpreter=False):
    """`paths` from `first_site` on are site-packages folders."""
    if not is_subinterpreter:
        # It takes the thread that imports it first for the main one, which has to be this. A sub-interpreter may be made on one
        # thread and ended on another, where it would wait for the first.
        import threading  # noqa: F401
    child_environment.install()
    sys.path[:] = paths
    posix.register_at_fork(after_in_child=_main_thread_of_a_child)  # after that of threading
    sys.executable = sys._base_executable = ""
    found = _prefixes(paths)
    if found:
        sys.prefix = sys.exec_prefix = found[0]
        sys.base_prefix = sys.base_exec_prefix = found[1]
        # No program is an interpreter like this one, but the environment's own Python, where there is one, runs the same packages:
        # torch.compile asks it whether what it built can be loaded, and starts its workers with it.
        python = f"{found[0]}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
        if posix.access(python, posix.X_OK):
            sys.executable = sys._base_executable = python
    if defer_imports:
        from _deploy import deferred

        deferred.install()
    _open_streams()
    _add_site_builtins()
    site_folders.add(paths[first_site:])


def _open_streams():
    if "_deploy_output" in sys.builtin_module_names:
        try:
            from _deploy import output
        except ImportError:  # a sub-interpreter with a GIL of its own: the lines that the host gets are put together under one GIL
            pass
        else:
            return output.redirect()
    # Lines of several interpreters and of the host mix; parts of lines must not, and a crash must not eat them.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(line_buffering=True)
