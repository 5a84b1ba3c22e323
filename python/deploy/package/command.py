"""The command line: python -m deploy pack | verify | inspect | run | sign."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import time
import traceback
from typing import Any

import deploy
from deploy._error import Error
from deploy._text import escaped, shown
from deploy.package import files, grad_modes, rendering

_LONGEST_PATH = 4096

_PACK = """Packs what a function makes. TARGET is module:function (or module:object); the function takes nothing and gives the
object, or (object, example_args), or (object, example_args, example_kwargs). The module is found as by `import`, the current
folder first.
"""


def _text(text: str) -> str:
    """Text of several lines, in which nothing acts on the terminal."""
    return escaped(text, keep="\n\t")


def _environment(arguments: argparse.Namespace) -> deploy.Environment | None:
    return deploy.Environment.from_venv(arguments.venv) if arguments.venv else None


def _progress(quiet: bool) -> Any:
    start = time.monotonic()
    return None if quiet else lambda text: print(f"{time.monotonic() - start:6.1f} s  {text}", file=sys.stderr, flush=True)


def pack(arguments: argparse.Namespace) -> None:
    from deploy.package import save
    from deploy.package.building import build

    files.check_output(arguments.output)
    if arguments.sign is not None:
        files.check_key(arguments.sign)
    environment = _environment(arguments)
    obj, args, kwargs = build(arguments.target)
    summary = save(
        arguments.output,
        obj,
        example_args=args,
        example_kwargs=kwargs,
        method=arguments.method,
        intern=arguments.intern,
        extern=arguments.extern,
        intern_python=arguments.intern_python,
        sign=arguments.sign,
        verify=not arguments.no_verify,
        tolerance=arguments.tolerance,
        grad_mode=arguments.grad_mode,
        environment=environment,
        progress=_progress(arguments.quiet),
    )
    verified = "verified" if summary.verified else "not verified" if arguments.no_verify else "loads, not wholly compared"
    print(f"{shown(summary.path, _LONGEST_PATH)}: {rendering.size_text(summary.size)}, {verified}")
    parts = [("own code", dict.fromkeys(summary.own_modules)), ("interned", summary.interned), ("extern", summary.externs)]
    for title, entries in parts:
        if entries:
            print(f"  {title}: {', '.join(shown(f'{name} {version}' if version else name) for name, version in entries.items())}")
    for note in summary.notes:
        print(f"  note: {_text(note)}")


def verify(arguments: argparse.Namespace) -> None:
    from deploy.package import verify as run_verification

    found = run_verification(arguments.package, environment=_environment(arguments), interpreters=arguments.interpreters)
    how = "bit-equal" if found.exact else f"within the tolerance, the largest difference is {found.largest:.3g}"
    what = f"{found.compared} of {found.examples} examples compared, {how}"
    if not found.examples:
        what = "loads; it has no example to repeat"
    elif not found.complete:
        what = f"loads and runs; {found.compared} of {found.examples} examples wholly compared"
    print(f"{shown(arguments.package, _LONGEST_PATH)}: {what} ({found.seconds:.1f} s)")
    for note in found.notes if found.examples else ():
        print(f"  note: {_text(note)}")


def inspect(arguments: argparse.Namespace) -> None:
    from deploy.package.contents import inspect as look

    print(rendering.render(look(arguments.package), arguments.depth))


def run(arguments: argparse.Namespace) -> None:
    from deploy.package.running import argument
    from deploy.package.running import run as call

    args, kwargs = [], {}
    for text in arguments.arguments:
        name, equals, value = text.partition("=")
        if equals and name.isidentifier():
            kwargs[name] = argument(value)
        else:
            args.append(argument(text))
    environment = _environment(arguments)
    print(_text(call(arguments.package, args, kwargs, example=arguments.example, method=arguments.method, environment=environment)))


def sign(arguments: argparse.Namespace) -> None:
    files.check_key(arguments.key)
    print(f"{shown(arguments.package, _LONGEST_PATH)}: signed with key {deploy.sign_package(arguments.package, arguments.key)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy", description="Packs Python models with their code, and looks at packages."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(function: Any, help: str, description: str | None = None) -> argparse.ArgumentParser:
        added = commands.add_parser(function.__name__, help=help, description=description or help)
        added.set_defaults(function=function)
        return added

    packing = command(pack, "write a package, and verify it", _PACK)
    packing.add_argument("target", metavar="TARGET", help="module:function")
    packing.add_argument("-o", "--output", required=True, metavar="FILE")
    packing.add_argument(
        "--intern", action="append", default=[], metavar="PATTERN", help="put it into the package (may be repeated)"
    )
    packing.add_argument("--extern", action="append", default=[], metavar="PATTERN", help="have it come from the environment")
    packing.add_argument(
        "--intern-python", action="append", default=[], metavar="PATTERN", help="as --intern, without its extension modules"
    )
    packing.add_argument("--method", default="__call__", help="what the example calls")
    packing.add_argument("--sign", metavar="KEY.PEM", help="sign with an Ed25519 private key")
    packing.add_argument("--no-verify", action="store_true")
    packing.add_argument("--tolerance", type=float, help="how far results may be from the recorded ones (default: not a bit)")
    packing.add_argument("--grad-mode", choices=grad_modes.MODES, help="whether calls record gradients (default: no_grad)")
    packing.add_argument("-q", "--quiet", action="store_true")

    verifying = command(verify, "repeat a package's examples in a fresh process without what it has inside")
    verifying.add_argument("package")
    verifying.add_argument("--interpreters", type=int, default=1, help="how many run the examples at once")

    inspecting = command(inspect, "show what is inside; runs nothing of it")
    inspecting.add_argument("package")
    inspecting.add_argument("--depth", type=int, default=rendering.DEPTH, help="how deep the tree of a model is shown")

    running = command(run, "call it once, with the first example's arguments or with given ones")
    running.add_argument("package")
    running.add_argument("arguments", nargs="*", metavar="[NAME=]VALUE", help="a .npy or .pt file, tensor:[[1, 2]], JSON, or text")
    running.add_argument("--example", type=int, metavar="N")
    running.add_argument("--method")

    signing = command(sign, "sign a package with an Ed25519 private key (PEM), in place")
    signing.add_argument("package")
    signing.add_argument("key", metavar="KEY.PEM")

    for each in (packing, verifying, running):
        each.add_argument("--venv", metavar="FOLDER", help="the virtual environment to use (default: that of this Python)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0; 1 for what the command reports as an error; 2 (argparse's) for a wrong command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    try:
        arguments.function(arguments)
        sys.stdout.flush()
    except Error as error:
        print(f"deploy: {_text(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("deploy: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # of the code that is packed
        print(_text(_told(error)), file=sys.stderr)
        return 1
    return 0


def _told(error: Exception) -> str:
    """The traceback from where it leaves this package, and a line that says what it is."""
    own = os.path.dirname(os.path.abspath(deploy.__file__)) + os.sep
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename, own):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames or error.__traceback__)
    last = f"deploy: {type(error).__name__}: {error}" if frames is not None else "deploy: a defect of deploy itself"
    return "".join(lines) + last


def _is_ours(filename: str, own: str) -> bool:
    return filename.startswith((own, "<frozen importlib")) or filename == importlib.__file__
