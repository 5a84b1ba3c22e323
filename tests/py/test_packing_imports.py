"""Which imports of own code a package needs: those that ran. What a source only might import is no condition."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import packing_projects
import pytest

import deploy
from deploy.package import PackagingError, save
from deploy.package.imports import imports_of
from deploy.package.sources import locate

NET = "\n\nclass Net:\n    def __call__(self, x):\n        return x + 1\n"

# At the top of a module: imports of what is nowhere, none of which ran.
NOT_RUN = {
    "find_spec": "from importlib.util import find_spec\nif find_spec('nowhere'): import nowhere",
    "available": "def available(): return False\nif available(): from nowhere import thing",
    "available_else": "import sys\nif sys.version_info < (3, 0):\n    import nowhere\nelse:\n    import json as nowhere",
    "platform": "import sys\nif sys.platform == 'win32':\n    import nowhere.api",
    "elif": "import sys\nif sys.platform == 'linux':\n    pass\nelif sys.platform == 'darwin':\n    import nowhere",
    "suppress": "import contextlib\nwith contextlib.suppress(ImportError):\n    import nowhere",
    "suppress_tuple": (
        "from contextlib import suppress\nwith suppress(KeyError, ModuleNotFoundError):\n    from nowhere import a, b"
    ),
    "own_context": (
        "import contextlib\n@contextlib.contextmanager\ndef attempt():\n    try: yield\n    except ImportError: pass\n"
        "with attempt():\n    import nowhere"
    ),
    "fallback": "try:\n    import json\nexcept ImportError:\n    import nowhere as json",
    "both": (
        "try:\n    import nowhere\nexcept ImportError:\n    try:\n"
        "        import nowhere2\n    except ImportError:\n        nowhere = None"
    ),
    "try_else": "try:\n    import nowhere\nexcept ImportError:\n    nowhere = None\nelse:\n    from nowhere.sub import thing",
    "try_flag": (
        "try:\n    import nowhere\n    HAVE = True\nexcept Exception:\n"
        "    HAVE = False\nif HAVE:\n    from nowhere.sub import thing"
    ),
    "class_body": "class Config:\n    DEBUG = False\n    if DEBUG:\n        import nowhere",
    "class_in_class": (
        "class A:\n    class B:\n        try:\n            import nowhere\n        except ImportError:\n            nowhere = None"
    ),
    "main": "if __name__ == '__main__':\n    import nowhere",
    "type_checking": "import typing\nif typing.TYPE_CHECKING:\n    from nowhere import Thing",
    "match": "import sys\nmatch sys.platform:\n    case 'win32':\n        import nowhere\n    case _:\n        import json",
    "while": "while False:\n    import nowhere",
    "for": "for _ in ():\n    import nowhere\nelse:\n    import json",
    "function": "def never():\n    import nowhere\n    from nowhere.sub import a",
    "lambda": "never = lambda: __import__('nowhere')",
    "module_getattr": (
        "def __getattr__(name):\n    if name == 'x':\n"
        "        from nowhere import x\n        return x\n    raise AttributeError(name)"
    ),
    "import_module": (
        "import importlib\ntry:\n    nowhere = importlib.import_module('nowhere')\nexcept ImportError:\n    nowhere = None"
    ),
    "import_module_if": "import importlib\nnowhere = importlib.import_module('nowhere') if 0 else None",
    "and": "nowhere = False and __import__('nowhere')",
    "own_helper": (
        "def import_module(name):\n    try: return __import__(name)\n"
        "    except ImportError: return None\nnowhere = import_module('nowhere')"
    ),
    "relative": "if False:\n    from .nowhere import thing",
}


@pytest.mark.parametrize("form", NOT_RUN)
@pytest.mark.parametrize("extern", [(), ("nowhere",)])
def test_an_import_that_did_not_run_is_no_condition(tmp_path, form, extern):
    files = {"cond_pkg/__init__.py": "", "cond_pkg/net.py": f"{NOT_RUN[form]}\n{NET}"}
    with packing_projects.imported(tmp_path, files, "cond_pkg.net") as module:
        for example in (None, (1,)):
            summary = save(tmp_path / "net.pt", module.Net(), example_args=example, extern=extern, verify=False)
            assert summary.own_modules == ["cond_pkg", "cond_pkg.net"]
            assert not any("nowhere" in name for name in summary.externs)


def test_all_forms_at_once_are_verified_in_a_fresh_interpreter(tmp_path):
    files = {f"form_{name}.py": text for name, text in NOT_RUN.items() if name != "relative"}
    files["many.py"] = "\n".join(f"import {name[:-3]}" for name in files) + NET
    with packing_projects.imported(tmp_path, files, "many") as module:
        assert save(tmp_path / "net.pt", module.Net(), example_args=(1,)).verified


# The same forms, with own code that is there: it ran, so it goes in, and so does what it needs.
RAN = {
    "find_spec": "from importlib.util import find_spec\nif find_spec('helper_x'): import helper_x",
    "available": "def available(): return True\nif available(): from helper_x import VALUE as value",
    "version": "import sys\nif sys.version_info >= (3, 0):\n    from helper_x import *\nelse:\n    import nowhere",
    "suppress": "from contextlib import suppress\nwith suppress(ImportError):\n    import helper_x",
    "fallback": "try:\n    import nowhere\nexcept ImportError:\n    import helper_x as nowhere",
    "try_else": "try:\n    import json\nexcept ImportError:\n    pass\nelse:\n    import helper_x",
    "finally": "try:\n    import json\nfinally:\n    import helper_x",
    "reraise": "try:\n    import helper_x\nexcept ImportError as error:\n    raise RuntimeError('install it') from error",
    "class_body": "class Config:\n    if True:\n        import helper_x",
    "match": "match 1:\n    case 1:\n        import helper_x",
    "with": "import warnings\nwith warnings.catch_warnings():\n    import helper_x",
    "for": "for _ in (1,):\n    from helper_x import VALUE",
    "import_module": "import importlib\nif True:\n    module = importlib.import_module('helper_x')",
    "decorator": "import importlib\n@importlib.import_module('helper_x').same\ndef f(): pass",
    "lazily": (
        "def __getattr__(name):\n    import helper_x\n    return helper_x.VALUE\n\ndef use():\n    return __getattr__('v')\n\nuse()"
    ),
}


@pytest.mark.parametrize("form", RAN)
def test_an_import_that_ran_goes_in_with_what_it_needs(tmp_path, form):
    files = {
        "ran_net.py": f"{RAN[form]}\n{NET}",
        "helper_x.py": "import numpy\n\nVALUE = 1\n\ndef same(f):\n    return f\n",
    }
    with packing_projects.imported(tmp_path, files, "ran_net") as module:
        summary = save(tmp_path / "net.pt", module.Net(), verify=False)
        assert summary.own_modules == ["helper_x", "ran_net"]
        assert list(summary.externs) == ["numpy"]


def test_a_distribution_is_asked_for_if_its_import_ran_and_the_code_cannot_do_without(tmp_path):
    pytest.importorskip("numpy")
    text = """
import sys
from importlib.util import find_spec
if find_spec("numpy"):
    import numpy as np
else:
    np = None
if sys.platform == "win32":
    import yaml
try:
    import packaging
except ImportError:
    packaging = None
"""
    with packing_projects.imported(tmp_path, {"asks.py": text + NET}, "asks") as module:
        import packaging  # noqa: F401  # loaded, whoever imported it
        import yaml  # noqa: F401

        summary = save(tmp_path / "net.pt", module.Net(), verify=False)
    assert list(summary.externs) == ["numpy"]


def test_the_name_that_is_bound_tells_which_of_two_branches_ran(tmp_path):
    files = {
        "branches.py": "OLD = False\nif OLD:\n    from way_a import f\nelse:\n    from way_b import f\n" + NET,
        "way_a.py": "import numpy\ndef f(): pass\n",
        "way_b.py": "import json\ndef f(): pass\n",
    }
    with packing_projects.imported(tmp_path, files, "branches") as module:
        import way_a  # noqa: F401  # both are loaded

        summary = save(tmp_path / "net.pt", module.Net(), verify=False)
    assert summary.own_modules == ["branches", "way_a", "way_b"]
    assert summary.externs == {}  # numpy is what way_a needs, which did not run for this module


def test_what_the_example_imports_counts_and_only_that(tmp_path):
    files = {
        "late.py": (
            "import importlib\n"
            "class Net:\n"
            "    def __call__(self, x):\n"
            "        importlib.import_module('late_a')\n"
            "        try:\n"
            "            import nowhere\n"
            "        except ImportError:\n"
            "            import late_b\n"
            "        return x\n"
            "    def other(self):\n"
            "        import late_c, nowhere\n"
        ),
        "late_a.py": "import numpy\n",
        "late_b.py": "import yaml\n",
        "late_c.py": "import torch, nowhere\n",
    }
    with packing_projects.imported(tmp_path, files, "late") as module:
        summary = save(tmp_path / "net.pt", module.Net(), example_args=(1,), verify=False)
    assert summary.own_modules == ["late", "late_a", "late_b", "late_c"]
    assert set(summary.externs) == {"numpy", "PyYAML"}


# What is really missing.


def test_a_need_that_is_missing_is_still_refused(tmp_path):
    files = {"needs.py": "import gone\nfrom gone_too import *\n" + NET, "gone.py": "", "gone_too.py": "A = 1\n"}
    with packing_projects.imported(tmp_path, files, "needs") as module:
        for name in ("gone", "gone_too"):
            (tmp_path / f"{name}.py").unlink()
            del sys.modules[name]
        importlib.invalidate_caches()
        with pytest.raises(PackagingError) as caught:
            save(tmp_path / "net.pt", module.Net(), example_args=(1,), verify=False)
        assert {problem.where for problem in caught.value.problems} == {"gone", "gone_too"}
        assert "is not to be found (needs imports it)" in str(caught.value)
        assert "extern=['gone']" in str(caught.value)
        summary = save(tmp_path / "net.pt", module.Net(), extern=["gone", "gone_*"], verify=False)
    assert summary.externs == {"gone": None, "gone_too": None}


def test_only_an_import_of_deploy_that_always_runs_is_refused(tmp_path):
    files = {
        "guarded.py": "from importlib.util import find_spec\nif find_spec('deploy'):\n    import deploy.package\n" + NET,
        "always.py": "import deploy.package\n" + NET,
    }
    with packing_projects.imported(tmp_path, files, "guarded") as module:
        assert save(tmp_path / "net.pt", module.Net(), example_args=(1,)).verified
    with packing_projects.imported(tmp_path, files, "always") as module:
        with pytest.raises(PackagingError, match="always: imports deploy, which is the host's side") as caught:
            save(tmp_path / "net.pt", module.Net(), verify=False)
        assert len(caught.value.problems) == 1
        save(tmp_path / "net.pt", module.Net(), extern=["deploy"], verify=False)


# Looking up.


def test_a_lookup_never_raises(tmp_path):
    files = {"space/inner/deep/mod.py": "X = 1\n"}
    packing_projects.write(tmp_path, files)
    sys.path.insert(0, str(tmp_path))
    try:
        assert locate("space.inner").search == (str(tmp_path / "space" / "inner"),)
        assert locate("space.inner.deep.mod").file == str(tmp_path / "space/inner/deep/mod.py")
        assert "space" not in sys.modules
    finally:
        sys.path.remove(str(tmp_path))
    assert locate("space.inner") is None
    for name in ("", ".", "a..b", "__main__.x", "nowhere.at.all", "os.path.join", "builtins.x", "torch._C.x"):
        locate(name)


def test_a_finder_that_raises_is_a_module_that_is_not_there():
    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            raise RuntimeError("broken finder")

    sys.meta_path.insert(0, Finder)
    try:
        assert locate("nowhere_at_all") is None
    finally:
        sys.meta_path.remove(Finder)


def test_a_namespace_below_an_installed_parent_is_imported_in_a_function(tmp_path):
    site = tmp_path / "site-packages"
    record = "cloudy/storage/client.py,,\ncloudy_storage-1.0.dist-info/METADATA,,\ncloudy_storage-1.0.dist-info/RECORD,,\n"
    packing_projects.write(
        site,
        {
            "cloudy/storage/client.py": "VALUE = 1\n",
            "cloudy_storage-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: cloudy-storage\nVersion: 1.0\n",
            "cloudy_storage-1.0.dist-info/RECORD": record,
        },
    )
    net = (
        "class Net:\n    def __call__(self, x):\n        return x\n"
        "    def upload(self):\n        from cloudy.storage import client\n"
    )
    sys.path.append(str(site))
    try:
        with packing_projects.imported(tmp_path / "own", {"uploads.py": net}, "uploads") as module:
            summary = save(tmp_path / "net.pt", module.Net(), example_args=(1,), verify=False)
            interned = save(tmp_path / "net.pt", module.Net(), example_args=(1,), intern=["cloudy-storage"], verify=False)
    finally:
        sys.path.remove(str(site))
    assert summary.externs == {} and summary.own_modules == ["uploads"]
    assert interned.interned == {"cloudy-storage": "1.0"}


def test_imports_know_what_they_bind():
    found = imports_of("import a.b\nimport a.b as c\nfrom .x import y as z\n", "pkg.mod", False)
    assert [(each.module, each.binds, each.member) for each in found] == [
        ("a.b", "a", ""),
        ("a.b", "c", ""),
        ("pkg.x", "z", "y"),
        ("pkg.x.y", "z", ""),
    ]


# Names that are others' as well.


def test_an_own_module_that_is_called_like_one_of_the_standard_library_goes_in(tmp_path):
    project = tmp_path / "project"
    packing_projects.write(
        project,
        {
            "statistics.py": "def mean(values):\n    return 'own'\n",
            "net.py": "import statistics\n\n\nclass Net:\n    def __call__(self, x):\n        return statistics.mean(x)\n",
            "pack.py": (
                "import sys\nimport deploy.package\nfrom net import Net\n\n"
                "print(deploy.package.save(sys.argv[1], Net(), example_args=([1],)).own_modules)\n"
            ),
        },
    )
    told = run_script(project / "pack.py", tmp_path / "net.pt")
    assert told.strip() == "['net', 'statistics']"
    with deploy.InterpreterManager(environment=deploy.Environment.bare()) as manager:
        assert manager.load_package(tmp_path / "net.pt").load_pickle("model", "model.pkl")([1, 2]) == "own"


def run_script(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(deploy.__file__).parent.parent)}
    line = [sys.executable, script.name, *map(str, arguments)]
    done = subprocess.run(line, cwd=script.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
