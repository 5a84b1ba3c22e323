"""sys.stdout and sys.stderr where the host takes what is written to them."""

import io
import sys

import _deploy_output


class HostStream(io.RawIOBase):
    """The binary layer: hands whole lines to the host, and at a flush what there is of the last one."""

    def __init__(self, number, name):
        self._number = number
        self.name = name
        self.mode = "wb"

    def writable(self):
        return True

    def write(self, data):
        if self.closed:
            raise ValueError("write to closed file")
        return _deploy_output.write(self._number, data)

    def flush(self):
        super().flush()
        _deploy_output.flush(self._number)


def _text_stream(number, name, errors):
    # write_through, not line_buffering: that would flush the part of a line that follows a line end.
    stream = io.TextIOWrapper(HostStream(number, name), encoding="utf-8", errors=errors, newline="\n", write_through=True)
    stream.mode = "w"
    return stream


def redirect():
    sys.stdout = sys.__stdout__ = _text_stream(1, "<stdout>", "surrogateescape")
    sys.stderr = sys.__stderr__ = _text_stream(2, "<stderr>", "backslashreplace")
