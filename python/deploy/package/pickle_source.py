"""The bytes of a pickle, and what reading them may cost. For pickle_machine.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

_LONGEST_LINE = 1 << 16
_WINDOW = 1 << 20


class DamagedPickle(Exception):
    """The bytes are no pickle. The text says why."""


class TooLarge(Exception):
    """The pickle takes more than the budget. The text says of what."""


@dataclasses.dataclass
class Budget:
    """What reading may cost, in all: operations carried out, and values that are kept."""

    operations: int = 10_000_000
    values: int = 2_500_000

    def keep(self, count: int = 1) -> None:
        self.values -= count
        if self.values < 0:
            raise TooLarge("it has too many values")


class Source:
    """The bytes of a record, of which `fetch(begin, size)` gives a part. Large records are read through a window."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch = fetch
        self.size = size
        self.position = 0  # of the window's first byte
        self.window = b""
        self.at = 0  # in the window

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.window):
            self._move(count)
            end = count
        data = self.window[self.at : end]
        self.at = end
        return data

    def take_byte(self) -> int:
        if self.at < len(self.window):
            self.at += 1
            return self.window[self.at - 1]
        return self.take(1)[0]

    def skip(self, count: int) -> None:
        self._check(count)
        if self.at + count <= len(self.window):
            self.at += count
        else:
            self.position += self.at + count
            self.window, self.at = b"", 0

    def line(self) -> bytes:
        end = self.window.find(b"\n", self.at)
        if end < 0:
            left = self.size - self.position - self.at
            self._move(min(left, _LONGEST_LINE + 1))
            end = self.window.find(b"\n", self.at, _LONGEST_LINE + 1)
            if end < 0:
                raise DamagedPickle("a line has no end" if left <= _LONGEST_LINE else f"a line has more than {_LONGEST_LINE} bytes")
        line = self.window[self.at : end]
        self.at = end + 1
        return line

    def _check(self, count: int) -> None:
        if count > self.size - self.position - self.at:
            raise DamagedPickle("it ends too early")

    def _move(self, count: int) -> None:
        """The window begins here from now on, and has `count` bytes or more."""
        self._check(count)
        self.position += self.at
        self.window = self._fetch(self.position, max(count, min(_WINDOW, self.size - self.position)))
        self.at = 0
        if len(self.window) < count:
            raise DamagedPickle("it ends too early")
