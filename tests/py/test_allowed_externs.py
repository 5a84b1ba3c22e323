"""What Environment.allowed_externs leaves out is not imported: by no code of a package, by no pickle, nor in order to say so."""

import pathlib
import py_compile

import manifest_packages
import pytest

import deploy

OWN = """
import importlib


class Model:
    def run(self, code):
        space = {**globals(), "result": None}
        exec(code, space)
        return space["result"]


def make():
    return Model()
"""
MAKE = manifest_packages.pickled_global("own_code", "make")
TRACE = "with open({trace!r}, 'a') as file:\n    file.write(__name__ + '\\n')\nclass Popen:\n    pass\n"


@pytest.fixture
def trace(tmp_path):
    """A file in which the modules of the environment write their names when they run; their folder is tmp_path/env."""
    path = tmp_path / "trace"
    path.write_text("")
    for name in ("forbidden.py", "good.py", "space/forbidden.py", "space/good.py", "bundle/__init__.py", "bundle/forbidden.py"):
        file = tmp_path / "env" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TRACE.format(trace=str(path)))
    (tmp_path / "env" / "taker.py").write_text("import forbidden\nfrom bundle import forbidden as inner\n")
    return path


@pytest.fixture
def restricted(make_manager, tmp_path, trace):
    return make_manager(
        extra_paths=[tmp_path / "env"],
        allowed_externs=["good", "taker", "space.good", "!forbidden", "!space.forbidden", "!subprocess"],
    )


def package(path, records=(), *, plain, **options):
    records = {"own_code.py": OWN.encode(), "model/model.pkl": MAKE, **dict(records)}
    if plain:
        return manifest_packages.write(path, records, manifest=False, **options)
    return manifest_packages.write(path, records, manifest={"own_modules": ["own_code"]}, **options)


def refusal(model, code):
    with pytest.raises(deploy.Error) as caught:
        model.call_method("run", code)
    assert caught.value.python_type == "ImportError", caught.value
    return caught.value.message


WAYS = [
    "import forbidden",
    "import forbidden as other",
    "from forbidden import Popen",
    "from forbidden import *",
    "__import__('forbidden')",
    "__import__('forbidden', {}, {}, ['Popen'], 0)",
    "__import__('', {'__package__': 'forbidden'}, None, ['Popen'], 1)",
    "__import__('forbidden', {'__package__': 'space.x', '__name__': 'x'}, None, ['Popen'], 2)",
    "import importlib; importlib.import_module('forbidden')",
    "from importlib import import_module; import_module('.forbidden', 'space')",
    "eval(\"__import__('forbidden')\")",
    "exec('import forbidden')",
    "exec('import forbidden', {})",
    "import space.forbidden",
    "from space import good, forbidden",
    "from taker import forbidden",
    "from taker import inner",
]


@pytest.mark.parametrize("plain", [True, False])
def test_no_way_to_ask_for_a_module_by_name_gives_one_that_is_left_out(restricted, tmp_path, trace, plain):
    model = restricted.load_package(package(tmp_path / "a.pt", plain=plain)).load_pickle("model", "model.pkl")
    for code in WAYS:
        assert "must not import" in refusal(model, code), code
        if "taker" not in code:
            assert "forbidden" not in trace.read_text(), code
    assert (
        model.call_method("run", "import good, space.good, importlib.util\nfrom space import good as g\nresult = g.__name__")
        == "space.good"
    )
    assert model.call_method("run", "result = importlib.import_module('json.decoder').__name__") == "json.decoder"


DATA = {
    "subprocess/data.txt": b"data",
    "forbidden/sub/data.bin": b"data",
    "space/data.txt": b"data",
    "bundle/readme": b"data",
}


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(
    "code",
    [
        "import subprocess; result = subprocess.Popen",
        "from subprocess import Popen",
        "import importlib; importlib.import_module('subprocess').Popen",
        "import forbidden; forbidden.Popen",
        "import forbidden.sub; forbidden.Popen",
        "import space.forbidden",
        "from space import forbidden",
        "import bundle.forbidden",
        "from bundle import forbidden",
    ],
)
def test_a_folder_of_data_lets_no_module_of_its_name_through(restricted, tmp_path, trace, plain, code):
    try:
        loaded = restricted.load_package(package(tmp_path / "a.pt", DATA, plain=plain))
    except deploy.Error as error:
        assert not plain and error.code == deploy.ErrorCode.INVALID_PACKAGE  # its own modules cannot have that name anywhere
        return
    model = loaded.load_pickle("model", "model.pkl")
    with pytest.raises(deploy.Error) as caught:
        model.call_method("run", code)
    assert caught.value.python_type in ("ImportError", "ModuleNotFoundError", "AttributeError"), caught.value
    assert "forbidden" not in trace.read_text() and "bundle" not in trace.read_text()
    assert loaded.load_binary("subprocess", "data.txt") == b"data"


def test_a_mangled_package_with_a_folder_of_data_lets_no_module_through(restricted, tmp_path, trace):
    records = {**DATA, "good.py": b"own = 1\n"}
    model = restricted.load_package(package(tmp_path / "a.pt", records, plain=True)).load_pickle("model", "model.pkl")
    assert model.call_method("run", "import good\nresult = good.own") == 1
    for code in ("import subprocess", "import forbidden", "from bundle import forbidden", "import forbidden.sub"):
        assert "must not import" in refusal(model, code)
    assert "forbidden" not in trace.read_text()


def stack_global(module, name):
    return b"\x80\x04\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93."


def called(module, name, argument):
    return b"\x80\x04c" + f"{module}\n{name}\n".encode() + b"\x8c" + bytes([len(argument)]) + argument.encode() + b"\x85R."


PICKLES = {
    "GLOBAL": b"cforbidden\nPopen\n.",
    "INST": b"(iforbidden\nPopen\n.",
    "OBJ": b"(cforbidden\nPopen\no.",
    "STACK_GLOBAL": stack_global("forbidden", "Popen"),
    "of a namespace": stack_global("space.forbidden", "Popen"),
    "over an attribute": stack_global("taker", "forbidden.Popen"),
    "the attribute itself": stack_global("taker", "forbidden"),
    "over a module of the package": stack_global("bundle_user", "taker.forbidden.Popen"),
    "by import_module": called("importlib", "import_module", "forbidden"),
    "by __import__": called("builtins", "__import__", "forbidden"),
}


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("plain", [True, False])
def test_no_global_of_a_pickle_gives_what_is_left_out(restricted, tmp_path, trace, plain, name):
    records = {"model/evil.pkl": PICKLES[name], "bundle_user.py": b"import taker\n"}
    loaded = restricted.load_package(package(tmp_path / "a.pt", records, plain=plain))
    with pytest.raises(deploy.Error) as caught:
        loaded.load_pickle("model", "evil.pkl")
    assert caught.value.python_type == "ImportError" and "must not import" in caught.value.message
    if "attribute" not in name and "module of" not in name:
        assert trace.read_text() == ""


@pytest.mark.parametrize("plain", [True, False])
def test_code_without_source_is_checked_or_no_module(restricted, tmp_path, trace, plain):
    source = tmp_path / "hidden.py"
    source.write_text("def look():\n    import forbidden\n    return forbidden.Popen\n")
    py_compile.compile(str(source), str(tmp_path / "hidden.pyc"))
    code = (tmp_path / "hidden.pyc").read_bytes()
    records = {"hidden.pyc": code, "inner/__init__.pyc": code, "regular/__init__.py": b"", "regular/hidden.pyc": code}
    loaded = restricted.load_package(package(tmp_path / "a.pt", records, plain=plain))
    model = loaded.load_pickle("model", "model.pkl")
    for module in ("hidden", "inner", "regular.hidden"):
        with pytest.raises(deploy.Error) as caught:
            model.call_method("run", f"import {module}\n{module}.look()")
        if plain or module == "hidden":  # no module of the package: those of a plain one are .py files, as are those in no folder
            assert caught.value.python_type in ("ImportError", "ModuleNotFoundError", "AttributeError")
        else:
            assert caught.value.python_type == "ImportError" and "must not import 'forbidden'" in caught.value.message
    assert trace.read_text() == ""


def test_a_package_is_no_zip_file_to_import_from(restricted, make_manager, tmp_path, trace):
    """Python's zipimport reads packages too, by the path of a module's folder, where the archive's root has that folder's name."""
    records = {"own/__init__.py": b"", "extra.py": b"import forbidden\n"}
    path = package(tmp_path / "file.pt", records, plain=True, root="own")
    model = restricted.load_package(path).load_pickle("model", "model.pkl")
    with pytest.raises(deploy.Error) as caught:
        model.call_method("run", "import own.extra")
    assert caught.value.python_type == "ModuleNotFoundError"
    assert trace.read_text() == ""


@pytest.mark.parametrize("plain", [True, False])
def test_loading_imports_nothing_of_the_environment_to_say_what_is_left_out(restricted, make_manager, tmp_path, trace, plain):
    names = ["forbidden.deep", "bundle.absent", "space.forbidden.deep", "taker.inner"]
    path = package(tmp_path / "a.pt", plain=plain, externs=[(name, None, None) for name in names])
    with pytest.raises(deploy.Error) as caught:
        restricted.load_package(path)
    assert "allowed_externs leave out: forbidden.deep, bundle.absent, space.forbidden.deep" in caught.value.message
    with pytest.raises(deploy.Error) as caught:
        make_manager(extra_paths=[tmp_path / "env"]).load_package(path)
    assert caught.value.code == deploy.ErrorCode.MISSING_EXTERN and "bundle.absent" in caught.value.message
    assert trace.read_text() == ""


def test_a_list_of_externs_is_split_in_one_way(restricted, tmp_path, raises, trace):
    """Characters that str.splitlines() splits at make no second name that nobody checked."""
    path = package(tmp_path / "a.pt", plain=True, externs=[("good\x0bforbidden", None, None)])
    with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
        restricted.load_package(path)
    assert r"good\x0bforbidden" in caught.value.message and trace.read_text() == ""


def test_modules_in_nested_namespaces_are_found_without_importing_any(make_manager, tmp_path):
    deep = tmp_path / "env" / "outer" / "middle" / "inner"
    deep.mkdir(parents=True)
    (deep / "leaf.py").write_text("value = 1\n")
    manager = make_manager(extra_paths=[tmp_path / "env"])
    path = package(tmp_path / "a.pt", plain=True, externs=[("outer.middle.inner.leaf", None, None)])
    model = manager.load_package(path).load_pickle("model", "model.pkl")
    assert model.call_method("run", "import outer.middle.inner.leaf as leaf\nresult = leaf.value") == 1


def test_a_package_imports_its_own_modules_in_every_way(restricted, tmp_path):
    records = {
        "own/__init__.py": b"from . import part\nfrom .sub import deep\n",
        "own/part.py": b"value = 1\n",
        "own/sub/__init__.py": b"",
        "own/sub/deep.py": b"from .. import part\nfrom ..part import value\nimport own.part as again\nimport importlib\n"
        b"assert importlib.import_module('..part', __package__) is part is again\n",
        "loose/leaf.py": b"value = 2\n",
    }
    code = "import own, own.sub.deep\nfrom own.sub import deep\nfrom loose import leaf\n"
    code += "result = [own.part.value, deep.value, leaf.value]"
    for plain in (True, False):
        path = package(tmp_path / f"{plain}.pt", records, plain=plain)
        model = restricted.load_package(path).load_pickle("model", "model.pkl")
        assert model.call_method("run", code) == [1, 1, 2]
        assert pathlib.Path(path).exists()
