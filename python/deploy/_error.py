"""The one exception type of the package."""

from deploy._deploy import ErrorCode


class Error(Exception):
    """What everything that fails in deploy raises. Copies share nothing with an interpreter and may outlive all of them.

    code         what kind of thing went wrong, an ErrorCode
    message      one paragraph: the object, what was found, what was expected; "Type: text" where Python code raised
    python_type  the qualified name of the exception's type ("ValueError", "my_model.Oops"); empty unless Python code raised
    traceback    the traceback inside the interpreter as Python prints it; empty unless Python code raised
    """

    def __init__(self, code: ErrorCode, message: str, python_type: str = "", traceback: str = "") -> None:
        super().__init__(code, message, python_type, traceback)
        self.code = code
        self.message = message
        self.python_type = python_type
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.message}\n{self.traceback}" if self.traceback else self.message
