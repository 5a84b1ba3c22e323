import sys


class Opaque:
    pass


def _fail(value):
    raise ValueError(f"cannot use {value!r}")


class Misbehaving:
    def __init__(self):
        self.calls = 0

    def __call__(self, kind):
        self.calls += 1
        if kind == "raise":
            _fail(kind)
        if kind == "chain":
            try:
                _fail(kind)
            except ValueError as error:
                raise RuntimeError("the model gave up") from error
        if kind == "exit":
            sys.exit(3)
        if kind == "interrupt":
            raise KeyboardInterrupt
        if kind == "opaque":
            return {"result": [Opaque()]}
        return kind


class FailsToUnpickle:
    def __reduce__(self):
        return _fail, ("the pickle",)
