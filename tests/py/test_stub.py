"""The types that the package declares (_deploy.pyi) are those of the extension module."""

import ast
import enum
import pathlib

import pytest

import deploy
from deploy import _deploy

STUB = ast.parse((pathlib.Path(deploy.__file__).parent / "_deploy.pyi").read_text())
DUNDERS = {"__call__", "__len__", "__enter__", "__exit__", "__dlpack__", "__dlpack_device__", "__dlpack_c_exchange_api__"}


def names_in(body):
    """Functions, classes and annotated or assigned names."""
    found = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    found |= {node.target.id for node in body if isinstance(node, ast.AnnAssign)}
    return found | {target.id for node in body if isinstance(node, ast.Assign) for target in node.targets}


def public(names):
    return {name for name in names if not name.startswith("_") or name in DUNDERS}


def test_the_stub_names_what_the_module_has():
    assert public(names_in(STUB.body)) == public(vars(_deploy))
    assert set(deploy.__all__) >= public(vars(_deploy))


@pytest.mark.parametrize("node", [node for node in STUB.body if isinstance(node, ast.ClassDef)], ids=lambda node: node.name)
def test_a_class_of_the_stub_has_the_members_of_the_real_one(node):
    real = getattr(_deploy, node.name)
    members = real.__members__ if issubclass(real, enum.Enum) else vars(real)
    assert public(names_in(node.body)) == public(members)


@pytest.mark.parametrize("name", deploy.__all__)
def test_everything_public_is_documented_and_lives_in_deploy(name):
    real = getattr(deploy, name)
    assert real.__doc__
    if isinstance(real, type):
        assert real.__module__ == "deploy"
        for member, value in vars(real).items():
            if not member.startswith("_") and callable(value):
                assert value.__doc__, f"{name}.{member}"
