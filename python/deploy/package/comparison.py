"""Compares two values by value, part by part: a call's result with the recorded one.

This module knows the values of the language: numbers, texts, containers, and objects by their attributes or, where a class pickles
itself, by what it pickles. What libraries define by other means than these (arrays, tables, images) is compared by the functions
that Comparison gets: each is asked in turn whether the pair is of its kind.

Parts wait in a list and not on the stack, so values may be nested deeply, and each pair of objects is compared once, so values may
contain themselves. A part that cannot be compared is neither equal nor different: it becomes a note. So does one that could not be
recorded: in the recorded value NotImplemented stands in its place.

It runs inside the interpreters of verify, where deploy is not installed: it imports the standard library, and object_parts.py.
"""

import array
import enum
import math
import types
from collections import OrderedDict, deque
from collections.abc import Mapping, Set

if __name__.startswith("deploy."):  # guest_check.py says when it is not
    from deploy.package.object_parts import CONTENT, attributes, equality, is_function, name_of, pickles_attributes, reduced, shown
else:
    from deploy_package_object_parts import CONTENT, attributes, equality, is_function, name_of, pickles_attributes, reduced, shown

_PLAIN = (type(None), bool, int, str, bytes, bytearray, range, slice, type(Ellipsis), type(NotImplemented))
_SCALARS = frozenset((type(None), bool, int, float, complex, str, bytes))
_NAMED = (type, types.FunctionType, types.ModuleType)
_MOST_DIFFERENCES = 20
_MOST_TRIALS = 64


class Path:
    """Where a part is, as text that is put together only when it is asked for."""

    def __init__(self, text, parent=None):
        self._text = text
        self._parent = parent

    def __add__(self, text):
        return Path(text, self)

    def __str__(self):
        texts, path = [], self
        while path is not None:
            texts.append(path._text)
            path = path._parent
        if len(texts) > 40:
            texts[20:-20] = [" ... "]
        return "".join(reversed(texts))


class Comparison:
    """differences   texts, one for each part that differs
    notes            texts, one for each part that could not be compared
    largest          the largest difference of two numbers
    """

    def __init__(self, tolerance, kinds=(), outer=None):
        self.differences = []
        self.notes = []
        self.largest = 0.0
        self.tolerance = tolerance
        self._kinds = kinds
        self._outer = outer
        self._seen = {}  # (id, id) -> both objects, which keeps their ids theirs
        self._waiting = deque()
        self._more = 0

    # For the functions of the kinds.

    def also(self, path, found, expected):
        """These two have to be equal too."""
        self._waiting.append((path, found, expected))

    def differ(self, path, text):
        if len(self.differences) < _MOST_DIFFERENCES:
            self.differences.append(f"{path}{text}")
        else:
            self._more += 1

    def skip(self, path, value, why):
        note = f"not compared: {path}, a {type(value).__qualname__}: {why}"
        if note not in self.notes:
            self.notes.append(note)

    def judge(self, difference, scale):
        """Whether numbers that are not equal are near enough: their difference, and the size of the expected one."""
        if math.isfinite(difference):
            self.largest = max(self.largest, difference)
        return self.tolerance is not None and math.isfinite(difference) and difference <= self.tolerance * (1 + scale)

    # The walk.

    def compare(self, path, found, expected):
        self.also(path if isinstance(path, Path) else Path(path), found, expected)
        while self._waiting:
            where, one, other = self._waiting.popleft()
            try:
                self._step(where, one, other)
            except Exception as error:  # whatever code of the values' classes raises
                self.skip(where, other, f"comparing raised {type(error).__name__}: {error!s:.200}")
        if self._more:
            self.differences.append(f"and {self._more} more differences")
            self._more = 0

    def _step(self, path, found, expected):
        if found is expected:
            return
        if expected is NotImplemented:
            self.skip(path, found, "it was not recorded, because it cannot be pickled")
            return
        kind = type(expected)
        if name_of(type(found)) != name_of(kind):
            same = type(found).__qualname__ == kind.__qualname__
            one, other = (".".join(name_of(each)) if same else each.__qualname__ for each in (type(found), kind))
            self.differ(path, f" is a {one}, recorded was a {other}")
        elif isinstance(expected, enum.Enum):
            if found.name != expected.name or found.value != expected.value:
                self._unequal(path, found, expected)
        elif kind in _PLAIN:
            if found != expected:
                self._unequal(path, found, expected)
        elif kind in (float, complex):
            self._numbers(path, found, expected)
        elif isinstance(expected, _NAMED) or is_function(expected):
            if name_of(found) != name_of(expected) or (name_of(found) == ("", "") and found != expected):
                self._unequal(path, found, expected)
        elif not self._was_seen((id(found), id(expected))):
            self._seen[id(found), id(expected)] = found, expected
            self._first_time(path, found, expected)

    def _was_seen(self, pair):
        return pair in self._seen or (self._outer is not None and self._outer._was_seen(pair))

    def _first_time(self, path, found, expected):
        if any(compares(self, path, found, expected) for compares in self._kinds):
            return
        if isinstance(expected, Mapping):
            self._mappings(path, found, expected)
        elif isinstance(expected, (list, tuple, deque)):
            self._sequences(path, found, expected)
        elif isinstance(expected, Set):
            self._sets(path, found, expected)
        elif isinstance(expected, array.array):
            self.also(path + ".typecode", found.typecode, expected.typecode)
            self.also(path, found.tolist(), expected.tolist())
            return
        elif isinstance(expected, (float, complex)):
            self._numbers(path, found, expected)
        elif isinstance(expected, _PLAIN) and found != expected:
            self._unequal(path, found, expected)
            return
        if type(expected) not in (dict, list, tuple, set, frozenset):
            self._objects(path, found, expected)

    def _unequal(self, path, found, expected):
        self.differ(path, f" is {shown(found)}, recorded was {shown(expected)}")

    def _numbers(self, path, found, expected):
        parts = ((found.real, expected.real), (found.imag, expected.imag))
        if all(one == other or (one != one and other != other) for one, other in parts):
            return
        if not self.judge(abs(found - expected), abs(expected)):
            self._unequal(path, found, expected)

    # Containers.

    def _sequences(self, path, found, expected):
        if len(found) != len(expected):
            self.differ(path, f" has {len(found)} elements, recorded were {len(expected)}")
            return
        if _are_equal_scalars(list(found), list(expected)):
            return
        names = getattr(type(expected), "_fields", ())
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            self.also(path + (f".{names[index]}" if index < len(names) else f"[{index}]"), one, other)

    def _mappings(self, path, found, expected):
        one, other = list(found), list(expected)
        ordered = isinstance(expected, OrderedDict)
        types_of = {key: type(key) for key in one}
        if len(one) == len(other) and (not ordered or one == other) and all(types_of.get(key) is type(key) for key in other):
            if not _are_equal_scalars([found[key] for key in other], [expected[key] for key in other]):
                for key in other:
                    self.also(path + f"[{shown(key)}]", found[key], expected[key])
            return
        if len(one) == len(other) and self._agree(one, other):  # keys that are equal by value and not by ==: nan, plain objects
            for key, twin in zip(one, other, strict=True):
                self.also(path + f"[{shown(twin)}]", found[key], expected[twin])
            return
        self.differ(path, f" has the keys {shown(one)}, recorded were {shown(other)}")

    def _sets(self, path, found, expected):
        if len(found) != len(expected):
            self.differ(path, f" has {len(found)} members, recorded were {len(expected)}")
            return
        one, other = [each for each in found if each not in expected], [each for each in expected if each not in found]
        if len(one) != len(other) or not self._match(one, other):
            self.differ(path, f" has other members than recorded: {shown(one)}, recorded were {shown(other)}")

    def _match(self, one, other):
        """Whether each member of one list has a twin in the other. Members of a set have no order, so each is tried with each."""
        if len(one) > _MOST_TRIALS:
            return self._agree(sorted(one, key=repr), sorted(other, key=repr))
        for member in one:
            twin = next((index for index, each in enumerate(other) if self._agree(member, each)), None)
            if twin is None:
                return False
            del other[twin]
        return True

    def _agree(self, found, expected):
        trial = Comparison(self.tolerance, self._kinds)
        trial.compare("", found, expected)
        return not trial.differences and not trial.notes

    # Objects.

    def _objects(self, path, found, expected):
        try:
            one, other = reduced(found, expected), reduced(expected, expected)
        except Exception as error:
            self._unpicklable(path, found, expected, error)
            return
        if not pickles_attributes(type(expected)):
            self._pickled(path, found, expected, one, other)
            return
        one, other = attributes(found), attributes(expected)
        self._named(path, one, other)
        if not other and not isinstance(expected, CONTENT) and equality(found, expected) is False:
            self._unequal(path, found, expected)

    def _named(self, path, one, other):
        for name in dict.fromkeys([*other, *one]):
            if name not in other:
                self.differ(path + f".{name}", f" is {shown(one[name])}, which was not recorded")
            elif name not in one:
                self.differ(path + f".{name}", f" is missing, recorded was {shown(other[name])}")
            else:
                self.also(path + f".{name}", one[name], other[name])

    def _pickled(self, path, found, expected, one, other):
        """Objects of a class that says itself what is pickled of them."""
        trial = Comparison(self.tolerance, self._kinds, self)
        trial._parts(path, one, other)
        content = isinstance(expected, CONTENT)
        equal = True if not trial.differences else None if content else equality(found, expected)
        if equal is not True:
            again = Comparison(None, self._kinds)
            again._parts(path, reduced(expected, expected), other)
            if again.differences:
                self.skip(path, expected, "its pickle differs each time that it is made, and it has no __eq__ that says more")
            elif equal is False and not isinstance(other[2], dict):
                self._unequal(path, found, expected)
            else:
                for text in trial.differences:
                    self.differ("", text)
        self.largest = max(self.largest, trial.largest)
        self.notes += [note for note in trial.notes if note not in self.notes]
        self._seen.update(trial._seen)

    def _parts(self, path, one, other):
        if isinstance(one, str) or isinstance(other, str):
            self.compare(path + ".__reduce__()", one, other)
            return
        for index, (part, twin) in enumerate(zip(one, other, strict=True)):
            if index == 2 and type(part) is dict and type(twin) is dict and all(isinstance(name, str) for name in (*part, *twin)):
                self._named(path, part, twin)
            else:
                self.also(path + f".__reduce__()[{index}]", part, twin)
        self.compare("", None, None)

    def _unpicklable(self, path, found, expected, error):
        content = isinstance(expected, CONTENT)
        equal = None if content else equality(found, expected)
        one, other = attributes(found), attributes(expected)
        if equal is False:
            self._unequal(path, found, expected)
        elif equal is None and other:
            self._named(path, one, other)
        elif equal is None and not content:
            self.skip(path, expected, f"it has no __eq__, and cannot be pickled: {type(error).__name__}: {error!s:.200}")


def _are_equal_scalars(found, expected):
    """A short cut for long lists of plain values."""
    kinds = list(map(type, expected))
    return _SCALARS.issuperset(kinds) and list(map(type, found)) == kinds and found == expected
