"""Callables whose results are hard to compare or to record. Own code of the packages that tests write."""

import functools
import random
import threading
import types


class Private:
    """Keeps its value where only it looks."""

    __slots__ = ("__value",)

    def __init__(self, value):
        self.__value = value


class Kept:
    def __init__(self, value, lock):
        self.value = value
        self.lock = lock


class Scattered:
    """Pickles itself differently each time, and defines no equality."""

    def __reduce__(self):
        return Scattered, (), {"salt": random.SystemRandom().random()}


def frame(seed=None):
    import pandas

    return pandas.DataFrame({"x": [1.0, random.Random(seed).random(), None], "s": ["a", None, "c"]}, index=[3, 4, 5])


def other_private():
    return Private(random.SystemRandom().random())


def same_private():
    return [Private(1), Private(float("nan"))]


def scattered():
    return {"number": 1, "scattered": Scattered()}


def a_lambda(x):
    return lambda: x


def a_lock_inside(x):
    return Sum(threading.Lock(), x)


def a_generator(x):
    return (y for y in (x, x))


class Sum:
    """Pickles itself as a call, whose arguments nobody may replace."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return Sum, self.parts


def with_a_lambda(x):
    return x, lambda: x


def with_a_lock(x):
    kept = Kept(x, threading.Lock())
    return {"x": x, "kept": kept, "again": [kept]}


def with_a_generator(x):
    return [(y for y in (x, x)), float("nan"), x]


def with_a_lock_and_a_number(x):
    return {"lock": threading.Lock(), "number": random.SystemRandom().random()}


def greeted(self, x):
    return f"{self.greeting} {x}"


class Greeter:
    """Its method has a function that has no name."""

    def __init__(self, greeting):
        self.greeting = greeting
        self.called = types.MethodType(functools.partial(greeted), self)
        self.renamed = types.MethodType(greeted, self)
        self.twice = types.MethodType(_twice, self)

    def __call__(self, x):
        return [self.called(x), self.renamed(x), self.twice(x), self.plain(x)]

    def plain(self, x):
        return x

    def twice(self, x):
        raise NotImplementedError("the instance has another one")


def _twice(self, x):
    return 2 * x


_twice.__name__ = "twice"


def note_call(module, args, output):
    return None


def doubled(self, x):
    return 2 * self[0](x)


class Lazy:
    """Its first call makes a class."""

    def __init__(self):
        self.helper = None

    def __call__(self, x):
        if self.helper is None:

            class Helper:
                def double(self, x):
                    return 2 * x

            self.helper = Helper()
        return self.helper.double(x)
