"""Packages of one small model with a library inside, as tests of the manifest load them."""

import time

import manifest_packages

LIBRARY = {
    "lib_a/__init__.py": (
        "import importlib, pathlib\n"
        "VERSION = (pathlib.Path(__file__).parent / 'version.txt').read_text()\n"
        "def __getattr__(name):\n"
        "    return importlib.import_module('lib_a.' + name)\n"
    ),
    "lib_a/version.txt": "1.0",
    "lib_a/lazy.py": "class Thing:\n    '''found late'''\n    def __reduce__(self):\n        return Thing, ()\n",
    "lib_a/data/words.txt": "one two\n",
    "lib_a-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: lib-a\nVersion: 1.0\nRequires-Dist: numpy>1\n",
    "lib_a-1.0.dist-info/RECORD": "",
    "lib_a-1.0.dist-info/entry_points.txt": "[greetings]\nhello = lib_a.lazy:Thing\n",
}
OWN = """
import importlib, importlib.metadata, importlib.resources, inspect, pickle, pkgutil, sys
import lib_a

class Model:
    def __call__(self, x):
        return x * 2
    def version(self):
        return lib_a.VERSION
    def facts(self):
        thing = lib_a.lazy.Thing()
        return {
            "file": lib_a.__file__,
            "listed": sys.modules["lib_a.lazy"] is importlib.import_module("lib_a.lazy"),
            "metadata": importlib.metadata.version("lib-a"),
            "requires": importlib.metadata.requires("lib_a"),
            "entry": [point.load() is type(thing) for point in importlib.metadata.entry_points(group="greetings")],
            "resource": importlib.resources.files("lib_a").joinpath("data/words.txt").read_text(),
            "data": pkgutil.get_data("lib_a", "data/words.txt"),
            "source": inspect.getsource(type(thing)),
            "pickled": type(pickle.loads(pickle.dumps(thing))) is type(thing),
            "names": sorted(module.name for module in pkgutil.iter_modules(lib_a.__path__)),
            "torch": "torch" in sys.modules,
        }
    def run(self, code):
        namespace = {}
        exec(code, globals(), namespace)
        return namespace.get("result")
    def modules(self):
        return sorted(name for name in sys.modules if name.partition(".")[0] in ("lib_a", "own_code"))

def make():
    return Model()
"""


def versioned(version):
    return {name.replace("1.0", version): text.replace("1.0", version) for name, text in LIBRARY.items()}


def write(path, library=LIBRARY, own=OWN, externs=(("json", None, None),), records=(), manifest=(), **options):
    files = {"own_code.py": own, **library, **dict(records)}
    content = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
    content["model/model.pkl"] = manifest_packages.pickled_global("own_code", "make")
    version = next((text.partition("Version: ")[2] for name, text in library.items() if name.endswith("METADATA")), "")
    entries = {
        "callables": [manifest_packages.callable_entry("model", "model.pkl")],
        "interned": [{"distribution": "lib_a", "version": version, "modules": ["lib_a"]}] if library else [],
        "own_modules": ["own_code"],
        **dict(manifest),
    }
    return manifest_packages.write(path, content, externs=externs, manifest=entries, **options)


def load_model(manager, path, **options):
    return manager.load_package(path, **options).load_pickle("model", "model.pkl")


def eventually(condition):
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()
