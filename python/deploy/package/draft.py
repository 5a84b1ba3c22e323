"""The file of a package while it is being written, beside the place that it will take."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from deploy.package import files
from deploy.package.zip_writer import ZipWriter


class Draft:
    """Nothing is there before writing() is used, nothing at the end of the `with` but what put_in_place() put there."""

    def __init__(self, path: str, tell: Callable[[str], None]) -> None:
        self._path = path
        self._tell = tell
        self._stream: Any = None
        self._writer: ZipWriter | None = None
        self._written, self._told = 0, time.monotonic()
        self.file: pathlib.Path | None = None

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._stream is not None:
            self._stream.close()
        if self.file is not None:
            self.file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[ZipWriter]:
        """The writer, which may be used for a while; what it wrote is in the file afterwards. Error NOT_FOUND, SYSTEM."""
        try:
            if self._writer is None:
                self._writer = self._open()
            yield self._writer
            self._stream.flush()
        except OSError as error:
            raise files.cannot_write(self._path, error) from error

    def _open(self) -> ZipWriter:
        folder, name = os.path.split(os.path.abspath(self._path))
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        self.file = pathlib.Path(temporary)
        self._stream = os.fdopen(handle, "wb")
        os.chmod(handle, 0o666 & ~_umask())
        return ZipWriter(self._stream, pathlib.Path(name).stem or "package")

    def descriptor(self) -> int:
        """Of the file, for reading what was written."""
        return self._stream.fileno()

    def count(self, size: int) -> None:
        """Of bytes that were written, which are told now and then."""
        self._written += size
        if time.monotonic() - self._told > 1:
            self._told = time.monotonic()
            self._tell(f"writing: {self._written >> 20} MiB")

    def close(self) -> pathlib.Path:
        """The complete file."""
        with self.writing() as writer:
            writer.close()
        self._stream.close()
        assert self.file is not None
        return self.file

    def put_in_place(self) -> None:
        files.check_output(self._path)  # once more: verifying takes a while
        assert self.file is not None
        try:
            os.replace(self.file, self._path)
        except OSError as error:
            raise files.cannot_write(self._path, error) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
