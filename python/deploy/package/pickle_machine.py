"""Reads a pickle as data: what it would make, in stand-ins, without making it.

A pickle is a program for a machine with a stack and a memo. This is that machine without its teeth: a global is a name, a call
makes a stand-in that keeps the arguments (pickle_values.py), and nothing is imported, called, hashed or compared. It was written
for files that somebody made in order to do harm, so each step costs a bounded amount and the number of steps, of kept values and
the depth of the stack are bounded by a Budget; it has no recursion; bytes and long texts are passed over, not read.

What follows is the order of pickletools.opcodes, whose texts are the reference for each operation.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from deploy.package.pickle_source import Budget, DamagedPickle, Source, TooLarge
from deploy.package.pickle_values import (
    OPAQUE,
    Global,
    Sequence,
    StandIn,
    Storage,
    Table,
    TensorInfo,
    Tuple,
    made_by,
    of_persistent_id,
)

LONGEST_TEXT = 300  # of a name or a key; what is longer is cut off
_DEEPEST_STACK = 1 << 20


class Machine:
    def __init__(self, source: Source, budget: Budget) -> None:
        self._source = source
        self._budget = budget
        self._stack: list[Any] = []  # since the last mark
        self._marked: list[list[Any]] = []
        self._below = 0  # values under the marks
        self._memo: list[Any] = []  # of places 0, 1, 2 ..., as picklers count
        self._scattered: dict[int, Any] = {}  # of all others

    def run(self) -> Any:
        """What the pickle makes. DamagedPickle, TooLarge."""
        source, operations, done = self._source, _OPERATIONS, 0
        try:
            for done in range(self._budget.operations):  # noqa: B007
                code = source.take_byte()
                operation = operations[code]
                if operation is None:
                    if code == _STOP:
                        return self._pop()
                    raise DamagedPickle(f"no operation 0x{code:02x}")
                operation(self)
                if len(self._stack) + self._below > _DEEPEST_STACK:
                    raise TooLarge("it has too many values at once")
        finally:
            self._budget.operations -= done + 1
        raise TooLarge("it has too many operations")

    # The stack.

    def _pop(self) -> Any:
        if not self._stack:
            raise DamagedPickle("an operation finds too few values")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            raise DamagedPickle("an operation finds too few values")
        return self._stack[-1]

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _make(self, value: Any) -> None:
        self._budget.keep()
        self._stack.append(value)

    def _mark(self) -> None:
        self._budget.keep()
        self._marked.append(self._stack)
        self._below += len(self._stack) + 1
        self._stack = []

    def _pop_mark(self) -> list[Any]:
        """The values above the last mark."""
        if not self._marked:
            raise DamagedPickle("an operation finds no mark")
        values = self._stack
        self._stack = self._marked.pop()
        self._below -= len(self._stack) + 1
        return values

    def _drop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    # Arguments.

    def _number(self, layout: struct.Struct) -> int:
        return layout.unpack(self._source.take(layout.size))[0]

    def _bytes(self, layout: struct.Struct) -> None:
        self._source.skip(self._length(layout))
        self._push(OPAQUE)

    def _length(self, layout: struct.Struct) -> int:
        length = self._number(layout)
        if length < 0:
            raise DamagedPickle("a value has a negative size")
        return length

    def _text(self, layout: struct.Struct) -> None:
        length = self._length(layout)
        head = min(length, 4 * LONGEST_TEXT + 4)
        data = self._source.take(head)
        self._source.skip(length - head)
        self._make(_decoded(data, cut=length > head))

    def _decimal(self, line: bytes) -> Any:
        """A number as text. Those of more than 64 bits are of no interest."""
        if len(line) > 20:
            return OPAQUE
        try:
            return int(line)
        except ValueError:
            raise DamagedPickle("a number is none") from None

    # Plain values.

    def _int_line(self) -> None:
        line = self._source.line()
        self._push(line == b"01" if line in (b"00", b"01") else self._decimal(line))

    def _long_line(self) -> None:
        self._push(self._decimal(self._source.line().removesuffix(b"L")))

    def _long(self, layout: struct.Struct) -> None:
        length = self._length(layout)
        if length > 8:
            self._source.skip(length)
            self._push(OPAQUE)
        else:
            self._push(int.from_bytes(self._source.take(length), "little", signed=True))

    def _float_line(self) -> None:
        self._source.line()
        self._push(0.0)

    def _float(self) -> None:
        self._source.skip(8)
        self._push(0.0)

    def _string_line(self) -> None:
        line = self._source.line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
            raise DamagedPickle("a text is not in quotes")
        self._make(_decoded(line[1:-1]))

    def _unicode_line(self) -> None:
        self._make(_decoded(self._source.line()))

    # Containers.

    def _tuple(self, values: list[Any]) -> None:
        self._make(Tuple(values))

    def _some(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise DamagedPickle("an operation finds too few values")
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _list(self, kind: str, values: list[Any]) -> None:
        made = Sequence(kind)
        self._budget.keep(made.extend(values))
        self._make(made)

    def _dict(self) -> None:
        made = Table()
        self._budget.keep(made.extend(self._in_pairs(self._pop_mark())))
        self._make(made)

    @staticmethod
    def _in_pairs(values: list[Any]) -> list[Any]:
        if len(values) % 2:
            raise DamagedPickle("a key has no value")
        return values

    def _append(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, (Sequence, StandIn)):
            self._budget.keep(target.extend(values))
        elif not _is_unknown(target):
            raise DamagedPickle("values are added to something that is no list")

    def _set_items(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Table):
            self._budget.keep(target.extend(self._in_pairs(values)))
        elif isinstance(target, StandIn):
            self._budget.keep(target.set_items(self._in_pairs(values)))
        elif not _is_unknown(target):
            raise DamagedPickle("items are set in something that is no dict")

    # The memo.

    def _put(self, index: Any) -> None:
        if type(index) is not int or index < 0:
            raise DamagedPickle("a place in the memo is no number")
        value = self._top()
        if index < len(self._memo):
            self._memo[index] = value
        elif index == len(self._memo):
            self._memo.append(value)
            self._scattered.pop(index, None)
        else:
            self._budget.keep()
            self._scattered[index] = value

    def _memoize(self) -> None:
        self._put(len(self._memo) + len(self._scattered))

    def _get(self, index: Any) -> None:
        if type(index) is int and 0 <= index < len(self._memo):
            self._push(self._memo[index])
        elif type(index) is int and index in self._scattered:
            self._push(self._scattered[index])
        else:
            raise DamagedPickle("nothing is at a place in the memo")

    # Objects.

    def _global_lines(self) -> None:
        module = _decoded(self._source.line())
        self._make(Global(module, _decoded(self._source.line())))

    def _global_on_stack(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise DamagedPickle("the name of a global is no text")
        self._make(Global(module, name))

    def _extension(self, layout: struct.Struct) -> None:
        self._make(Global("copyreg", f"extension {self._number(layout)}"))

    def _reduce(self) -> None:
        args, function = self._pop(), self._pop()
        self._make(made_by(function, args))

    def _new_object(self, keywords: bool) -> None:
        if keywords:
            self._pop()
        args, kind = self._pop(), self._pop()
        self._make(StandIn(str(kind) if isinstance(kind, Global) else "object", args))

    def _object(self) -> None:
        values = self._pop_mark()
        if not values:
            raise DamagedPickle("an object has no class")
        self._make(made_by(values[0], Tuple(values[1:])))

    def _instance(self) -> None:
        module, name = _decoded(self._source.line()), _decoded(self._source.line())
        self._make(made_by(Global(module, name), Tuple(self._pop_mark())))

    def _build(self) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(target, StandIn):
            target.state = state

    def _persistent(self, saved: Any) -> None:
        self._make(of_persistent_id(saved))

    def _protocol(self) -> None:
        number = self._source.take(1)[0]
        if number > 5:
            raise DamagedPickle(f"protocol {number} is not known")

    def _frame(self) -> None:
        self._source.skip(8)


def _is_unknown(value: Any) -> bool:
    """Whether it stands for something that may be of any type."""
    return value is OPAQUE or value is None or isinstance(value, (Storage, TensorInfo, Global))


def _decoded(data: bytes, cut: bool = False) -> str:
    """At most LONGEST_TEXT characters of it, and a mark if there are more."""
    text = data[: 4 * LONGEST_TEXT + 4].decode("utf-8", "backslashreplace")
    return text if len(text) <= LONGEST_TEXT and not cut else f"{text[:LONGEST_TEXT]}..."


_STOP = ord(".")
_U1, _U2, _I4, _U4, _U8 = (struct.Struct(layout) for layout in ("<B", "<H", "<i", "<I", "<Q"))

Operation = Callable[[Machine], Any]


def _table() -> list[Operation | None]:
    operations: list[Operation | None] = [None] * 256
    by_code: dict[bytes, Operation] = {
        b"I": Machine._int_line,
        b"J": lambda m: m._push(m._number(_I4)),
        b"K": lambda m: m._push(m._number(_U1)),
        b"M": lambda m: m._push(m._number(_U2)),
        b"L": Machine._long_line,
        b"\x8a": lambda m: m._long(_U1),
        b"\x8b": lambda m: m._long(_I4),
        b"S": Machine._string_line,
        b"T": lambda m: m._text(_I4),
        b"U": lambda m: m._text(_U1),
        b"B": lambda m: m._bytes(_U4),
        b"C": lambda m: m._bytes(_U1),
        b"\x8e": lambda m: m._bytes(_U8),
        b"\x96": lambda m: m._bytes(_U8),
        b"\x97": lambda m: m._push(OPAQUE),
        b"\x98": lambda m: m._top(),
        b"N": lambda m: m._push(None),
        b"\x88": lambda m: m._push(True),
        b"\x89": lambda m: m._push(False),
        b"V": Machine._unicode_line,
        b"\x8c": lambda m: m._text(_U1),
        b"X": lambda m: m._text(_U4),
        b"\x8d": lambda m: m._text(_U8),
        b"F": Machine._float_line,
        b"G": Machine._float,
        b"]": lambda m: m._make(Sequence("list")),
        b"a": lambda m: m._append(m._some(1)),
        b"e": lambda m: m._append(m._pop_mark()),
        b"l": lambda m: m._list("list", m._pop_mark()),
        b")": lambda m: m._tuple([]),
        b"t": lambda m: m._tuple(m._pop_mark()),
        b"\x85": lambda m: m._tuple(m._some(1)),
        b"\x86": lambda m: m._tuple(m._some(2)),
        b"\x87": lambda m: m._tuple(m._some(3)),
        b"}": lambda m: m._make(Table()),
        b"d": Machine._dict,
        b"s": lambda m: m._set_items(m._some(2)),
        b"u": lambda m: m._set_items(m._pop_mark()),
        b"\x8f": lambda m: m._make(Sequence("set")),
        b"\x90": lambda m: m._append(m._pop_mark()),
        b"\x91": lambda m: m._list("frozenset", m._pop_mark()),
        b"0": Machine._drop,
        b"2": lambda m: m._push(m._top()),
        b"(": Machine._mark,
        b"1": Machine._pop_mark,
        b"g": lambda m: m._get(m._decimal(m._source.line())),
        b"h": lambda m: m._get(m._number(_U1)),
        b"j": lambda m: m._get(m._number(_U4)),
        b"p": lambda m: m._put(m._decimal(m._source.line())),
        b"q": lambda m: m._put(m._number(_U1)),
        b"r": lambda m: m._put(m._number(_U4)),
        b"\x94": Machine._memoize,
        b"\x82": lambda m: m._extension(_U1),
        b"\x83": lambda m: m._extension(_U2),
        b"\x84": lambda m: m._extension(_I4),
        b"c": Machine._global_lines,
        b"\x93": Machine._global_on_stack,
        b"R": Machine._reduce,
        b"b": Machine._build,
        b"i": Machine._instance,
        b"o": Machine._object,
        b"\x81": lambda m: m._new_object(keywords=False),
        b"\x92": lambda m: m._new_object(keywords=True),
        b"\x80": Machine._protocol,
        b"\x95": Machine._frame,
        b"P": lambda m: m._persistent(_decoded(m._source.line())),
        b"Q": lambda m: m._persistent(m._pop()),
    }
    for code, operation in by_code.items():
        operations[code[0]] = operation
    return operations


_OPERATIONS = _table()
