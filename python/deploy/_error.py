"""The one exception type of the package."""

from __future__ import annotations

from typing import Any

from deploy._deploy import ErrorCode
from deploy._text import escaped

# Their messages name things that are in a package file, or in another file that somebody else wrote.
_OF_FILES = (ErrorCode.INVALID_PACKAGE, ErrorCode.NOT_FOUND, ErrorCode.MISSING_EXTERN, ErrorCode.UNTRUSTED)


def _copied(kind: type[Error], args: tuple[Any, ...], attributes: dict[str, Any]) -> Error:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class Error(Exception):
    """What everything that fails in deploy raises. Copies share nothing with an interpreter and may outlive all of them.

    code         what kind of thing went wrong, an ErrorCode
    message      one paragraph: the object, what was found, what was expected; "Type: text" where Python code raised. Where it names
                 things in a package, control characters and marks of direction in these names are escaped ("\\x1b")
    python_type  the qualified name of the exception's type ("ValueError", "my_model.Oops"); empty unless Python code raised
    traceback    the traceback inside the interpreter as Python prints it; empty unless Python code raised
    """

    def __init__(self, code: ErrorCode, message: str, python_type: str = "", traceback: str = "") -> None:
        if code in _OF_FILES:
            # One paragraph; subclasses list several things, one a line.
            message = escaped(message, keep="" if type(self) is Error else "\n")
        super().__init__(code, message, python_type, traceback)
        self.code = code
        self.message = message
        self.python_type = python_type
        self.traceback = traceback

    def __reduce__(self) -> tuple[Any, ...]:
        """Without __init__: that of a subclass may take anything."""
        return _copied, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        return f"{self.message}\n{self.traceback}" if self.traceback else self.message
