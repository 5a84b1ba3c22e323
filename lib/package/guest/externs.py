"""What packages take from the environment: whether it has what they need, and which of it they may import."""

import importlib.metadata
import re
import sys
from fnmatch import fnmatchcase


class Allowed:
    """Environment.allowed_externs: patterns of module names, each for what lies below it too; "!" takes out. The standard library
    is allowed, what nothing allows is not."""

    def __init__(self, patterns):
        self._allowed = [pattern for pattern in patterns if not pattern.startswith("!")]
        self._denied = [pattern[1:] for pattern in patterns if pattern.startswith("!")]

    def allows(self, name):
        parts = name.split(".")
        names = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        if any(fnmatchcase(each, pattern) for pattern in self._denied for each in names):
            return False
        return parts[0] in sys.stdlib_module_names or any(fnmatchcase(each, pattern) for pattern in self._allowed for each in names)

    def check(self, name, package, fromlist=()):
        """ImportError unless `name` is allowed, or all that is imported from it."""
        items = [f"{name}.{item}" for item in fromlist or () if isinstance(item, str)]
        if self.allows(name) and not any(self._is_denied(item) for item in items) or items and all(map(self.allows, items)):
            return
        raise ImportError(
            f"package {package!r} must not import {name!r}: the environment's allowed_externs leave it out", name=name, path=package
        )

    def _is_denied(self, name):
        return any(fnmatchcase(name, pattern) for pattern in self._denied)


_VERSION = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>a|alpha|b|beta|c|rc|pre|preview)[-_.]?(?P<pre_number>\d*))?"
    r"(?P<post>-(?P<post_digits>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>\d*))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<dev_number>\d*))?(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?"
)


def version_key(text):
    """What versions are ordered by (PEP 440); local versions ("+cpu") are equal. None for what is no version."""
    match = _VERSION.fullmatch(text.strip().lower()) if len(text) <= 200 else None  # int() refuses very many digits
    if match is None:
        return None
    release = [int(part) for part in match["release"].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    # 1.dev1 < 1a1 < 1rc1 < 1 < 1.post1; a development version comes before what it is one of.
    if match["pre"]:
        pre = ({"a": 0, "b": 1}.get(match["pre"][0], 2), int(match["pre_number"] or 0))
    else:
        pre = (-1, 0) if match["dev"] and not match["post"] else (3, 0)
    post = int(match["post_digits"] or match["post_number"] or 0) if match["post"] else -1
    dev = (0, int(match["dev_number"] or 0)) if match["dev"] else (1, 0)
    return int(match["epoch"] or 0), release, pre, post, dev


def installed_version(distribution, without=()):
    """The version of an installed distribution, or None; folders of sys.path in `without` do not count."""
    path = [folder for folder in sys.path if folder not in without]
    for found in importlib.metadata.Distribution.discover(name=distribution, path=path):
        return found.version
    return None


def outdated(distributions, without=()):
    """Those of (distribution, version) whose installed version is lower, as (distribution, version, installed). What has no
    metadata, a plain folder of sources, is taken as it is."""
    found = []
    for distribution, version in dict.fromkeys(map(tuple, distributions)):
        installed = installed_version(distribution, without)
        wanted, present = version_key(version), installed and version_key(installed)
        if wanted is not None and present is not None and present < wanted:
            found.append((distribution, version, installed))
    return found
