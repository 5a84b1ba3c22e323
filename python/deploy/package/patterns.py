"""`intern` and `extern`: which distributions and modules a pattern means."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from deploy.package.distributions import normalized


class Patterns:
    """`intern` and `extern`: names of distributions or modules, or patterns of them (`*`, `?`; `a.**` is a and all below)."""

    def __init__(self, intern: Iterable[str], extern: Iterable[str]) -> None:
        self.lists = {"intern": list(intern), "extern": list(extern)}
        self.matched: set[tuple[str, str]] = set()

    def decide(self, names: Iterable[str]) -> tuple[str, str, bool] | None:
        """(action, pattern, whether it names something instead of matching all sorts): the one that names it wins, and among equals
        extern, which always works."""
        names = list(names)
        found = []
        for action in ("extern", "intern"):
            for pattern in self.lists[action]:
                if any(_matches(pattern, name) for name in names):
                    self.matched.add((action, pattern))
                    found.append((action, pattern, not set("*?[") & set(stem(pattern))))
        return max(found, key=lambda match: match[2], default=None)

    def named(self, action: str) -> list[tuple[str, str]]:
        """(pattern, the name in it) of those that name something."""
        return [(pattern, stem(pattern)) for pattern in self.lists[action] if not set("*?[") & set(stem(pattern))]


def stem(pattern: str) -> str:
    """The name in a pattern of the form `a`, `a.*` or `a.**`."""
    return pattern.removesuffix(".**").removesuffix(".*")


def _matches(pattern: str, name: str) -> bool:
    of = stem(pattern)
    return fnmatch.fnmatchcase(name, of) or fnmatch.fnmatchcase(normalized(name), normalized(of)) or name.startswith(of + ".")
