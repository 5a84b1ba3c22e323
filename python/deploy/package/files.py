"""Paths that a command was given: what is no regular file is refused, in one line, before it is opened or written over.

To open a FIFO waits for who writes to it, and a package that is written takes the place of what has its path: of a device in /dev,
where the user may do that.
"""

from __future__ import annotations

import os
import stat

from deploy._deploy import ErrorCode
from deploy._error import Error

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode), "a device"),
)


def check_output(path: str) -> None:
    """Error INVALID_ARGUMENT where something else than a file has the path, NOT_FOUND where its folder is missing, SYSTEM where
    this user may not write into it. Nothing needs to be there."""
    kind = _kind(path)
    if kind:
        raise Error(ErrorCode.INVALID_ARGUMENT, f"cannot write package {path!r}: it is {kind}, expected a file or nothing")
    folder = os.path.dirname(os.path.abspath(path))
    if not path or path.endswith("/"):
        raise Error(ErrorCode.INVALID_ARGUMENT, f"cannot write package {path!r}: expected the name of a file")
    if not os.path.isdir(folder):
        found = "is no folder" if os.path.exists(folder) else "does not exist: make it first"
        raise Error(ErrorCode.NOT_FOUND, f"cannot write package {path!r}: {folder!r} {found}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Error(ErrorCode.SYSTEM, f"cannot write package {path!r}: this user may not write into {folder!r}")


def check_key(path: str) -> None:
    """Error INVALID_ARGUMENT where a key is no file, NOT_FOUND where there is none. A key's text passes."""
    if path.startswith("-----BEGIN"):
        return
    kind = _kind(path)
    if kind:
        raise Error(ErrorCode.INVALID_ARGUMENT, f"key file {path!r} is {kind}, expected a file")
    if not os.path.exists(path):
        raise Error(ErrorCode.NOT_FOUND, f"key file {path!r} cannot be opened")


def check_input(path: str) -> None:
    """Error NOT_FOUND, INVALID_ARGUMENT."""
    kind = _kind(path)
    if kind:
        raise Error(ErrorCode.INVALID_ARGUMENT, f"{path!r} is {kind}, expected a file")
    if not os.path.exists(path):
        raise Error(ErrorCode.NOT_FOUND, f"no file {path!r}")


def cannot_write(path: str, error: OSError) -> Error:
    code = ErrorCode.NOT_FOUND if isinstance(error, (FileNotFoundError, NotADirectoryError)) else ErrorCode.SYSTEM
    return Error(code, f"cannot write package {path!r}: {error}")


def _kind(path: str) -> str | None:
    """What has the path, if it is no regular file; links are followed."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None
    if stat.S_ISREG(mode):
        return None
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "no regular file")
