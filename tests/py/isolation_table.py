"""The table of isolation: settings, how code sets and reads each, and who sees it. test_isolation.py asserts every row;
`python tests/py/isolation_table.py` writes docs/isolation.md.

A row is set in interpreter A, on one thread of the host, and read there, in interpreter B, in the host's Python (both on the same
thread) and in a process that B starts. What is expected follows from its kind:

    isolated   A sees it; the others see what they saw before
    shared     A, B and the host see it
    thread     it is the thread's: A, B and the host see it on the thread that set it, and another thread of the host does not
    own        each has another one from the start, and nothing sets it
    session    A sees it until the session (or call) ends; then the thread is as it was, for all
    refused    setting it raises an error with the text in `error`
"""

from __future__ import annotations

import dataclasses
import pathlib

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "isolation.md"


@dataclasses.dataclass(frozen=True)
class Row:
    name: str  # for the page, Markdown
    set: str  # statements
    read: str  # an expression, of a plain value
    kind: str
    note: str  # for the page: why, or what to do
    value: object = True  # of `read`, where it is set
    undo: str = ""  # statements; so that the next row starts alike
    imports: str = ""  # modules that the expressions use, beside those that every row has
    child: bool | None = None  # whether a process that B starts sees it; None: it has nothing of the kind, or the row says more
    alone: bool = False  # in a process of its own: it cannot be undone
    error: str = ""  # of a refused one


def getenv(name):
    return f"(lambda f: (setattr(f, 'restype', ctypes.c_char_p), f({name.encode()!r}))[1])(ctypes.CDLL(None).getenv)"


SHELL_SEES = "subprocess.run(['/bin/sh', '-c', 'echo $DEPLOY_ROW'], capture_output=True, text=True).stdout.strip()"

TOPICS: dict[str, list[Row]] = {
    "Python": [
        Row("`sys.path`", "sys.path.append('/row')", "'/row' in sys.path", "isolated", "", undo="sys.path.remove('/row')"),
        Row("`sys.modules`", "sys.modules['row'] = sys", "'row' in sys.modules", "isolated", "", undo="del sys.modules['row']"),
        Row(
            "`builtins`",
            "builtins.row = 1",
            "hasattr(builtins, 'row')",
            "isolated",
            "",
            undo="del builtins.row",
            imports="builtins",
        ),
        Row(
            "`warnings` filters",
            "warnings.simplefilter('error')",
            "warnings.filters[0][0]",
            "isolated",
            "",
            value="error",
            undo="warnings.filters.pop(0)",
            imports="warnings",
        ),
        Row(
            "`logging`",
            "logging.getLogger().setLevel(7)",
            "logging.getLogger().level",
            "isolated",
            "",
            value=7,
            undo="logging.getLogger().setLevel(30)",
            imports="logging",
        ),
        Row(
            "the context of `decimal`",
            "decimal.getcontext().prec = 7",
            "decimal.getcontext().prec",
            "isolated",
            "",
            value=7,
            undo="decimal.getcontext().prec = 28",
            imports="decimal",
        ),
        Row(
            "context variables",
            "import contextvars; sys.row = contextvars.ContextVar('row'); sys.row.set(3)",
            "sys.row.get() if hasattr(sys, 'row') else None",
            "isolated",
            "A thread of the host keeps them from call to call.",
            value=3,
        ),
        Row(
            "`random.seed`",
            "random.seed(1)",
            "random.getstate()[1][1]",
            "isolated",
            "An interpreter that was not seeded has a seed of its own.",
            value=__import__("random").Random(1).getstate()[1][1],
            imports="random",
        ),
        Row(
            "the secret of hashes (`PYTHONHASHSEED`)",
            "",
            "hash('row')",
            "own",
            "Drawn for each interpreter, whatever the variable says: sets of strings have another order in each.",
        ),
        Row(
            "the recursion limit",
            "sys.setrecursionlimit(777)",
            "sys.getrecursionlimit()",
            "isolated",
            "",
            value=777,
            undo="sys.setrecursionlimit(1000)",
        ),
        Row(
            "the switch interval",
            "sys.setswitchinterval(0.5)",
            "sys.getswitchinterval()",
            "isolated",
            "",
            value=0.5,
            undo="sys.setswitchinterval(0.005)",
        ),
        Row(
            "the garbage collector",
            "gc.disable(); gc.set_threshold(5, 6, 7)",
            "gc.get_threshold()",
            "isolated",
            "",
            value=(5, 6, 7),
            undo="gc.enable(); gc.set_threshold(700, 10, 10)",
            imports="gc",
        ),
        Row(
            "the limit of digits of an int",
            "sys.set_int_max_str_digits(700)",
            "sys.get_int_max_str_digits()",
            "isolated",
            "",
            value=700,
            undo="sys.set_int_max_str_digits(4300)",
        ),
        Row(
            "codecs",
            "codecs.register(lambda name: codecs.lookup('utf-8') if name == 'row' else None)",
            "sees(lambda: codecs.lookup('row'))",
            "isolated",
            "",
            imports="codecs",
        ),
        Row(
            "error handlers of codecs",
            "codecs.register_error('row', lambda e: ('', e.end))",
            "sees(lambda: codecs.lookup_error('row'))",
            "isolated",
            "",
            imports="codecs",
        ),
        Row(
            "`copyreg`",
            "copyreg.pickle(complex, lambda c: (complex, (0, 0)))",
            "copyreg.dispatch_table[complex](1)[1] == (0, 0)",
            "isolated",
            "",
            undo="copyreg.pickle(complex, copyreg.pickle_complex)",
            imports="copyreg",
        ),
        Row(
            "`mimetypes`",
            "mimetypes.add_type('a/row', '.row')",
            "mimetypes.guess_type('x.row')[0]",
            "isolated",
            "",
            value="a/row",
            imports="mimetypes",
        ),
        Row(
            "`csv` limits",
            "csv.field_size_limit(99)",
            "csv.field_size_limit()",
            "isolated",
            "",
            value=99,
            undo="csv.field_size_limit(131072)",
            imports="csv",
        ),
        Row(
            "adapters of `sqlite3`",
            "sqlite3.register_adapter(complex, str)",
            "sees(lambda: sqlite3.connect(':memory:').execute('select ?', (1j,)))",
            "isolated",
            "",
            imports="sqlite3",
        ),
        Row(
            "`zoneinfo` paths",
            "zoneinfo.reset_tzpath(['/row'])",
            "zoneinfo.TZPATH == ('/row',)",
            "isolated",
            "",
            undo="zoneinfo.reset_tzpath()",
            imports="zoneinfo",
        ),
        Row(
            "`tempfile.tempdir`",
            "tempfile.tempdir = '/row'",
            "tempfile.gettempdir()",
            "isolated",
            "",
            value="/row",
            undo="tempfile.tempdir = None",
            imports="tempfile",
        ),
        Row(
            "`socket.setdefaulttimeout`",
            "socket.setdefaulttimeout(9)",
            "socket.getdefaulttimeout()",
            "isolated",
            "",
            value=9.0,
            undo="socket.setdefaulttimeout(None)",
            imports="socket",
        ),
        Row(
            "the default context of `ssl`",
            "ssl._create_default_https_context = ssl._create_unverified_context",
            "ssl._create_default_https_context is ssl._create_unverified_context",
            "isolated",
            "",
            undo="ssl._create_default_https_context = ssl.create_default_context",
            imports="ssl",
        ),
        Row(
            "the policy of `asyncio`",
            "asyncio.set_event_loop_policy(type('Row', (asyncio.DefaultEventLoopPolicy,), {})())",
            "type(asyncio.get_event_loop_policy()).__name__",
            "isolated",
            "",
            value="Row",
            undo="asyncio.set_event_loop_policy(None)",
            imports="asyncio",
        ),
        Row(
            "the start method of `multiprocessing`",
            "multiprocessing.set_start_method('spawn', force=True)",
            "multiprocessing.get_start_method(allow_none=True)",
            "isolated",
            "",
            value="spawn",
            undo="multiprocessing.set_start_method(None, force=True)",
            imports="multiprocessing",
        ),
        Row(
            "`atexit`",
            "sys.row = atexit._ncallbacks(); atexit.register(print, end='')",
            "hasattr(sys, 'row') and atexit._ncallbacks() > sys.row",
            "isolated",
            "They run when the interpreter ends.",
            undo="atexit.unregister(print)",
            imports="atexit",
        ),
        Row(
            "`sys.excepthook`",
            "sys.excepthook = print",
            "sys.excepthook is print",
            "isolated",
            "What a call raises crosses as `deploy::Error`, whatever the hook.",
            undo="sys.excepthook = sys.__excepthook__",
        ),
        Row(
            "`sys.unraisablehook`",
            "sys.unraisablehook = print",
            "sys.unraisablehook is print",
            "isolated",
            "",
            undo="sys.unraisablehook = sys.__unraisablehook__",
        ),
        Row(
            "`threading.excepthook`",
            "threading.excepthook = print",
            "threading.excepthook is print",
            "isolated",
            "",
            undo="threading.excepthook = threading.__excepthook__",
            imports="threading",
        ),
        Row(
            "`threading.stack_size`",
            "threading.stack_size(1 << 20)",
            "(lambda size: (threading.stack_size(size), size)[1])(threading.stack_size())",
            "isolated",
            "",
            value=1 << 20,
            undo="threading.stack_size(0)",
            imports="threading",
        ),
        Row(
            "`sys.settrace`",
            "sys.settrace(lambda *event: None)",
            "sys.gettrace() is not None",
            "isolated",
            "The thread's in that interpreter, kept from call to call.",
            undo="sys.settrace(None)",
        ),
        Row(
            "`sys.setprofile`",
            "sys.setprofile(lambda *event: None)",
            "sys.getprofile() is not None",
            "isolated",
            "The thread's in that interpreter, kept from call to call.",
            undo="sys.setprofile(None)",
        ),
        Row(
            "`threading.settrace`",
            "threading.settrace(print)",
            "threading.gettrace() is print",
            "isolated",
            "",
            undo="threading.settrace(None)",
            imports="threading",
        ),
        Row(
            "audit hooks",
            "sys.row = []; sys.addaudithook(lambda name, args: sys.row.append(name) if name == 'row' else None)",
            "hasattr(sys, 'row') and (sys.audit('row'), 'row' in sys.row)[1]",
            "isolated",
            "They stay until the interpreter ends.",
        ),
        Row(
            "hooks of asynchronous generators",
            "sys.set_asyncgen_hooks(firstiter=print)",
            "sys.get_asyncgen_hooks().firstiter is print",
            "isolated",
            "",
            undo="sys.set_asyncgen_hooks(None, None)",
        ),
        Row(
            "`tracemalloc`",
            "tracemalloc.start()",
            "tracemalloc.is_tracing()",
            "isolated",
            "",
            undo="tracemalloc.stop()",
            imports="tracemalloc",
        ),
        Row(
            "flags of `dlopen`",
            "sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)",
            "sys.getdlopenflags() == os.RTLD_NOW | os.RTLD_GLOBAL",
            "isolated",
            "What is opened with RTLD_GLOBAL serves that interpreter's libraries only.",
            undo="sys.setdlopenflags(os.RTLD_NOW)",
        ),
        Row(
            "types that `ctypes` caches",
            "ctypes.POINTER(type('Row', (ctypes.Structure,), {}))",
            "any(getattr(t, '__name__', '') == 'Row' for t in ctypes._pointer_type_cache)",
            "isolated",
            "",
            undo="ctypes._reset_cache()",
        ),
        Row("`ctypes.set_errno`", "ctypes.set_errno(7)", "ctypes.get_errno()", "isolated", "", value=7, undo="ctypes.set_errno(0)"),
        Row(
            "`sys.stdout`",
            "import io; sys.row, sys.stdout = sys.stdout, io.StringIO()",
            "type(sys.stdout).__name__",
            "isolated",
            "`Environment::on_output` gets what is printed otherwise.",
            value="StringIO",
            undo="sys.stdout = sys.row",
        ),
        Row(
            "history and completer of `readline`",
            "readline.add_history('row')",
            "readline.get_current_history_length()",
            "isolated",
            "libreadline is private; the terminal is the process's.",
            value=1,
            undo="readline.clear_history()",
            imports="readline",
        ),
        Row(
            "`faulthandler.is_enabled`",
            "faulthandler.enable(open('/dev/null', 'w'))",
            "faulthandler.is_enabled()",
            "isolated",
            "The handlers of SIGSEGV and its like are the process's: enable it in one interpreter, or in the host.",
            undo="faulthandler.disable()",
            imports="faulthandler",
        ),
    ],
    "numpy and torch": [
        Row(
            "`numpy.random.seed`",
            "numpy.random.seed(1)",
            "int(numpy.random.get_state()[1][0])",
            "isolated",
            "",
            value=1,
            imports="numpy",
        ),
        Row(
            "`numpy.seterr`",
            "numpy.seterr(over='raise')",
            "numpy.geterr()['over']",
            "isolated",
            "",
            value="raise",
            undo="numpy.seterr(over='warn')",
            imports="numpy",
        ),
        Row(
            "`numpy.set_printoptions`",
            "numpy.set_printoptions(precision=2)",
            "numpy.get_printoptions()['precision']",
            "isolated",
            "",
            value=2,
            undo="numpy.set_printoptions(precision=8)",
            imports="numpy",
        ),
        Row(
            "`torch.set_default_dtype`",
            "torch.set_default_dtype(torch.float64)",
            "str(torch.get_default_dtype())",
            "isolated",
            "",
            value="torch.float64",
            undo="torch.set_default_dtype(torch.float32)",
            imports="torch",
        ),
        Row("`torch.manual_seed`", "torch.manual_seed(11)", "torch.initial_seed()", "isolated", "", value=11, imports="torch"),
        Row(
            "`torch.set_grad_enabled`",
            "torch.set_grad_enabled(False)",
            "torch.is_grad_enabled()",
            "isolated",
            "",
            value=False,
            undo="torch.set_grad_enabled(True)",
            imports="torch",
        ),
        Row(
            "`torch.use_deterministic_algorithms`",
            "torch.use_deterministic_algorithms(True)",
            "torch.are_deterministic_algorithms_enabled()",
            "isolated",
            "",
            undo="torch.use_deterministic_algorithms(False)",
            imports="torch",
        ),
        Row(
            "`torch.set_printoptions`",
            "torch.set_printoptions(precision=2)",
            "repr(torch.tensor(1.23456))",
            "isolated",
            "",
            value="tensor(1.23)",
            undo="torch.set_printoptions(precision=4)",
            imports="torch",
        ),
        Row(
            "`torch.set_num_threads`",
            "torch.set_num_threads(1)",
            "torch.get_num_threads()",
            "isolated",
            "OpenMP's number, of a thread in an interpreter. The pool itself is the process's.",
            value=1,
            undo="torch.set_num_threads(2)",
            imports="torch",
        ),
        Row(
            "`torch.set_flush_denormal`",
            "torch.set_flush_denormal(True)",
            "(torch.tensor([1e-310], dtype=torch.float64) * 1.0).item() == 0",
            "isolated",
            "",
            undo="torch.set_flush_denormal(False)",
            imports="torch",
        ),
    ],
    "The process": [
        Row(
            "`os.environ`",
            "os.environ['DEPLOY_ROW'] = 'a'",
            "os.environ.get('DEPLOY_ROW')",
            "isolated",
            "An interpreter begins with the process's variables at that time.",
            value="a",
            undo="del os.environ['DEPLOY_ROW']",
        ),
        Row(
            "the environment that C's `getenv` sees",
            "os.environ['DEPLOY_ROW'] = 'a'",
            getenv("DEPLOY_ROW"),
            "shared",
            "C libraries read what Python code sets (`OMP_NUM_THREADS`, `CUDA_VISIBLE_DEVICES`), and "
            "there is one environment a process. Set such "
            "variables in the host before it makes interpreters. A private library reads what its own "
            "interpreter has set, whatever others set after it.",
            value=b"a",
            undo="del os.environ['DEPLOY_ROW']",
            child=False,
        ),
        Row(
            "the environment of child processes, in another interpreter",
            "os.environ['DEPLOY_ROW'] = 'a'",
            f"{SHELL_SEES} if guest else ''",
            "isolated",
            "`subprocess`, `os.system` and `os.exec*` of an interpreter give its own `os.environ`.",
            value="a",
            undo="del os.environ['DEPLOY_ROW']",
        ),
        Row(
            "the environment of child processes, in the host",
            "os.environ['DEPLOY_ROW'] = 'a'",
            f"{SHELL_SEES} if not guest else 'a'",
            "shared",
            "They get the C environment. Give `env` where that matters.",
            value="a",
            undo="del os.environ['DEPLOY_ROW']",
            child=False,
        ),
        Row(
            "the current folder",
            "os.chdir('/usr')",
            "os.getcwd()",
            "shared",
            "The kernel's, one a process. Use absolute paths.",
            value="/usr",
            undo="os.chdir('/')",
            child=True,
        ),
        Row(
            "umask",
            "os.umask(0o47)",
            "(lambda m: (os.umask(m), m)[1])(os.umask(0))",
            "shared",
            "The kernel's, one a process. Give modes to `os.open`, or `os.chmod`.",
            value=0o47,
            undo="os.umask(0o22)",
            child=True,
        ),
        Row(
            "locale (`locale.setlocale`)",
            "locale.setlocale(locale.LC_ALL, 'C.UTF-8')",
            "locale.setlocale(locale.LC_ALL)",
            "shared",
            "The C library's, one a process: numbers that C's `printf` writes would change for all. "
            "Use babel, or format explicitly.",
            value="C.UTF-8",
            undo="locale.setlocale(locale.LC_ALL, 'C')",
            imports="locale",
            child=False,
        ),
        Row(
            "time zone (`time.tzset`)",
            "os.environ['TZ'] = 'XYZ-5'; time.tzset()",
            "time.localtime(0).tm_gmtoff",
            "shared",
            "The C library's, one a process. Use `zoneinfo`.",
            value=18000,
            undo="del os.environ['TZ']; time.tzset()",
            imports="time",
            child=False,
        ),
        Row(
            "resource limits",
            "resource.setrlimit(resource.RLIMIT_NOFILE, (333, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))",
            "resource.getrlimit(resource.RLIMIT_NOFILE)[0]",
            "shared",
            "The kernel's, one a process. `Environment::memory_limit` is an interpreter's own.",
            value=333,
            undo="resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)",
            imports="resource",
            child=True,
        ),
        Row(
            "whether the process dumps core (`PR_SET_DUMPABLE`)",
            "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)",
            "ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)",
            "shared",
            "The kernel's, one a process.",
            value=0,
            undo="ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)",
            child=False,
        ),
        Row(
            "file descriptors",
            "os.dup2(os.open('/dev/null', os.O_RDONLY), 300)",
            "os.path.lexists('/proc/self/fd/300')",
            "shared",
            "A number means the same file for all. Those that Python opens are not inherited by child processes.",
            undo="os.close(300)",
            child=False,
        ),
        Row(
            "what descriptor 1 writes to",
            "sys.row = os.dup(1); os.dup2(os.open('/dev/null', os.O_WRONLY), 1)",
            "os.readlink('/proc/self/fd/1')",
            "shared",
            "Set `sys.stdout`, or `Environment::on_output`.",
            value="/dev/null",
            undo="os.dup2(sys.row, 1)",
        ),
        Row(
            "handlers of signals (`signal.signal`)",
            "signal.signal(signal.SIGUSR1, print)",
            "0",
            "refused",
            "Signals are the host's. Let the host call into an interpreter.",
            imports="signal",
            error="signal only works in main thread",
        ),
        Row(
            "`signal.set_wakeup_fd`",
            "signal.set_wakeup_fd(1)",
            "0",
            "refused",
            "As above.",
            imports="signal",
            error="set_wakeup_fd only works in main thread",
        ),
        Row(
            "timers (`signal.setitimer`)",
            "signal.setitimer(signal.ITIMER_REAL, 9999)",
            "signal.getitimer(signal.ITIMER_REAL)[0] > 9000",
            "shared",
            "The kernel's, one of each kind a process, and its signal ends a process that does not "
            "handle it. Use `threading.Timer`.",
            undo="signal.setitimer(signal.ITIMER_REAL, 0)",
            imports="signal",
            child=False,
        ),
        Row(
            "the process group",
            "os.setpgid(0, 0)",
            "os.getpgid(0) == os.getpid()",
            "shared",
            "The kernel's, one a process, as are user and group ids, capabilities and namespaces.",
            alone=True,
            child=False,
        ),
        Row(
            "locked memory (`mlock`)",
            "sys.row = ctypes.create_string_buffer(1 << 16); assert ctypes.CDLL(None).mlock(sys.row, 1 << 16) == 0",
            "'VmLck:\\t       0' not in open('/proc/self/status').read()",
            "shared",
            "Pages belong to the process, and count for its limit.",
            undo="ctypes.CDLL(None).munlock(sys.row, 1 << 16)",
            child=False,
        ),
        Row(
            "named shared memory",
            "from multiprocessing import shared_memory as s; sys.row = s.SharedMemory(f'deploy-row-{os.getpid()}', True, 16)",
            "os.path.exists(f'/dev/shm/deploy-row-{os.getpid()}')",
            "shared",
            "Names are the machine's.",
            undo="sys.row.close(); sys.row.unlink()",
        ),
    ],
    "The thread": [
        Row(
            "CPU affinity",
            "os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})",
            "len(os.sched_getaffinity(0))",
            "session",
            "Threads that the code starts meanwhile have it for good.",
            value=1,
        ),
        Row(
            "priority (`os.nice`)",
            "os.nice(3)",
            "os.getpriority(os.PRIO_PROCESS, 0)",
            "thread",
            "Linux has one a thread. Set it in the host.",
            value=3,
            alone=True,
            child=True,
        ),
        Row(
            "the thread's name",
            "ctypes.CDLL(None).prctl(15, b'row', 0, 0, 0)",
            "open('/proc/thread-self/comm').read().strip()",
            "thread",
            "Set it in the host, or give `threading.Thread` a name.",
            value="row",
            undo="ctypes.CDLL(None).prctl(15, b'python', 0, 0, 0)",
            child=False,
        ),
        Row(
            "the mask of signals",
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])",
            "signal.SIGUSR2 in signal.pthread_sigmask(0, [])",
            "session",
            "",
            imports="signal",
        ),
        Row(
            "the rounding mode",
            "ctypes.CDLL('libm.so.6').fesetround(0x800)",
            "ctypes.CDLL('libm.so.6').fegetround()",
            "isolated",
            "Kept with the thread's state in that interpreter, as is flush-to-zero.",
            value=0x800,
            undo="ctypes.CDLL('libm.so.6').fesetround(0)",
        ),
        Row(
            "`threading.local`",
            "sys.row = threading.local(); sys.row.x = 1",
            "hasattr(sys, 'row') and sys.row.x == 1",
            "isolated",
            "The thread of the host keeps its values in that interpreter from call to call.",
            imports="threading",
        ),
    ],
}
ROWS = [row for rows in TOPICS.values() for row in rows]

HEAD = """# What interpreters have for themselves

Generated by `python tests/py/isolation_table.py` from the table that `tests/py/test_isolation.py` asserts; do not edit. Each
setting is made by Python code in one interpreter, and read there, in another interpreter, in the host's Python on the same
thread and on another, and in a process that the other interpreter starts.

| | who sees it |
|---|---|
| **isolated** | the interpreter that set it; all others see what they saw before |
| **own** | each interpreter has another one from the start |
| **session** | the interpreter, until the session or call ends; then the host's thread is as it was |
| **thread** | whatever runs on that thread of the host: it is the kernel's, for the thread |
| **shared** | all interpreters and the host: it is the process's |
| **refused** | nobody: setting it raises an error |

Interpreters are isolated from each other's state, not from faults: code that crashes or calls `os._exit` takes the process with
it. C libraries follow [architecture.md](architecture.md), D1: what a wheel brings along is isolated, the C library, OpenMP's
and BLAS's libraries are shared.

Why locale, time zone and C's environment are shared: glibc has one of each for the process, and reads them in functions that
private and shared libraries call alike (`printf`, `localtime`, `getenv`). A locale for each thread (`uselocale`) would have to
follow every thread that code starts, and would change what the host's own functions do in callbacks. So code that sets them
affects all, as in any program of several parts.
"""


def page():
    parts = [HEAD]
    for topic, rows in TOPICS.items():
        parts += [f"## {topic}", "", "| setting | | in child processes | |", "|---|---|---|---|"]
        inherited = {True: "yes", False: "no", None: ""}
        parts += [f"| {row.name} | {row.kind} | {inherited[row.child]} | {row.note} |" for row in rows]
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
