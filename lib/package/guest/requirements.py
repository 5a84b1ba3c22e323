"""Whether the environment has what a package needs, and may give it. Asked before anything is trusted: nothing is imported."""

from _deploy import externs as _externs
from _deploy import package as _package
from _deploy import tree


def problems(extern_modules, distributions, allowed):
    """(modules that are missing, (distribution, version, installed) of those that are too old, modules that are not allowed)."""
    restriction = None if allowed is None else _externs.Allowed(allowed)
    forbidden = [] if restriction is None else [name for name in extern_modules if not restriction.allows(name)]
    return _package.missing_modules(extern_modules), _externs.outdated(distributions, tree.unit_folders()), forbidden
