"""Modules whose source text the host registered: found before everything else, importable, with source lines in tracebacks."""

import sys
from importlib._bootstrap import _call_with_frames_removed
from importlib.machinery import ModuleSpec

# No such folder exists. It must not look like "<...>" as a whole, or linecache would not ask the loader for the lines.
_FOLDER = "<registered>/"

_sources = {}


def _is_package(name):
    prefix = name + "."
    return any(other.startswith(prefix) for other in _sources)


class _Importer:
    """Finder and loader in one; the state is the module's."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in _sources:
            return None
        return ModuleSpec(name, _Importer, origin=_Importer.get_filename(name), is_package=_is_package(name))

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        name = module.__spec__.name
        module.__file__ = _Importer.get_filename(name)
        _call_with_frames_removed(exec, _Importer.get_code(name), module.__dict__)

    @staticmethod
    def get_filename(name):
        return _FOLDER + name.replace(".", "/") + ("/__init__.py" if _is_package(name) else ".py")

    @staticmethod
    def get_source(name):
        try:
            return _sources[name]
        except KeyError:
            raise ImportError(f"no module {name!r} is registered", name=name) from None

    @staticmethod
    def get_code(name):
        return compile(_Importer.get_source(name), _Importer.get_filename(name), "exec", dont_inherit=True)

    @staticmethod
    def is_package(name):
        return _is_package(name)


def register(name, source):
    """Make `source` importable as `name`. Raises ValueError, whose text is for the host's user."""
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"{name!r} is no module name: expected identifiers with dots between them")
    if name in sys.modules and _sources.get(name) != source:
        raise ValueError(f"module {name!r} is already imported in this interpreter; register it before its first import")
    _sources[name] = source
    parent = name.rpartition(".")[0]
    while parent:
        _make_package(parent)
        parent = parent.rpartition(".")[0]
    if _Importer not in sys.meta_path:
        sys.meta_path.insert(0, _Importer)


def _make_package(name):
    """Let a module of ours that was imported as a plain one have submodules from now on."""
    module = sys.modules.get(name)
    if name in _sources and module is not None and not hasattr(module, "__path__"):
        module.__path__ = []
        module.__spec__.submodule_search_locations = module.__path__
        module.__package__ = name
