"""What keeps an object from being packed: all of it is collected, and told in one error."""

from __future__ import annotations

import dataclasses

from deploy._deploy import ErrorCode
from deploy._error import Error


@dataclasses.dataclass(frozen=True)
class Problem:
    """where   the attribute path of an object ("model.layers[0].act"), or a module's or a pattern's name
    why     what was found
    choice  what would work
    """

    where: str
    why: str
    choice: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.why}" + (f"\n    {self.choice}" if self.choice else "")


class PackagingError(Error):
    """The object cannot be packed as asked. `problems` has each reason with the choice that would work."""

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self.problems = problems
        count = f"{len(problems)} problems" if len(problems) > 1 else "one problem"
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(ErrorCode.INVALID_ARGUMENT, f"cannot write package {path!r}, {count}:\n{lines}")


class VerificationError(Error):
    """The package does not do in a fresh interpreter what the object did. `failures` has one text for each example."""

    def __init__(self, path: str, failures: list[str]) -> None:
        self.failures = failures
        lines = "\n".join(f"  {failure}" for failure in failures)
        super().__init__(ErrorCode.INVALID_PACKAGE, f"package {path!r} failed its verification:\n{lines}")
