import collections
import json

Point = collections.namedtuple("Point", "x y")


class Counter:
    def __init__(self, start):
        self.value = start

    def __call__(self, step=1):
        self.value += step
        return self.value

    def point(self):
        return Point(self.value, -self.value)

    def as_json(self):
        return json.dumps({"value": self.value})


def double(value):
    return 2 * value
