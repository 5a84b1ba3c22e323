"""A model that never leaves Python code: the purest case of one that is bound by the GIL."""


class PureLoop:
    def __call__(self):
        total = 0
        for i in range(100_000):
            total += i & 7
        return total
