"""Whatever goes wrong inside an interpreter is a deploy.Error outside, and the next call works."""

import pickle

import pytest

import deploy


def test_an_exception_inside_has_type_message_and_traceback(session, raises):
    with raises(deploy.ErrorCode.PYTHON) as caught:
        session.global_("probe", "fail")("ValueError", "bad shape")
    error = caught.value
    assert error.python_type == "ValueError"
    assert error.message == "ValueError: bad shape"
    assert error.traceback.startswith("Traceback (most recent call last):")
    assert "in fail" in error.traceback
    assert 'raise getattr(__import__("builtins"), type_name)(*args)' in error.traceback
    assert str(error) == f"{error.message}\n{error.traceback}"
    assert session.global_("probe", "echo")(1).to_value() == 1


@pytest.mark.parametrize(
    "name", ["SystemExit", "KeyboardInterrupt", "MemoryError", "RecursionError", "StopIteration", "GeneratorExit"]
)
def test_no_exception_type_ends_the_process(session, raises, name):
    with raises(deploy.ErrorCode.PYTHON) as caught:
        session.global_("probe", "fail")(name)
    assert caught.value.python_type == name
    assert session.global_("probe", "echo")(1).to_value() == 1


def test_sys_exit_does_not_end_the_process(session, raises):
    with raises(deploy.ErrorCode.PYTHON) as caught:
        session.global_("probe", "exit")(3)
    assert caught.value.python_type == "SystemExit"
    assert caught.value.message == "SystemExit: 3"


def test_endless_recursion_is_an_error(session, raises):
    with raises(deploy.ErrorCode.PYTHON) as caught:
        session.global_("probe", "make")("(lambda f: f(f))(lambda f: f(f))")
    assert caught.value.python_type == "RecursionError"
    assert session.global_("probe", "echo")(1).to_value() == 1


def test_a_module_that_does_not_exist(session, raises):
    with raises(deploy.ErrorCode.PYTHON) as caught:
        session.import_module("no_such_module")
    assert caught.value.python_type == "ModuleNotFoundError"
    assert "no_such_module" in caught.value.message


def test_an_attribute_that_does_not_exist(session, raises):
    for use in (lambda: session.global_("probe", "nothing"), lambda: session.import_module("probe").attr("nothing")):
        with raises(deploy.ErrorCode.PYTHON) as caught:
            use()
        assert caught.value.python_type == "AttributeError"
        assert "nothing" in caught.value.message


def test_a_wrong_argument_is_the_type_error_of_the_function(session, raises):
    with raises(deploy.ErrorCode.PYTHON) as caught:
        session.global_("probe", "echo")(1, 2)
    assert caught.value.python_type == "TypeError"
    with raises(deploy.ErrorCode.PYTHON) as caught:
        session.global_("probe", "echo")(wrong=1)
    assert "wrong" in caught.value.message


def test_str_of_an_object_whose_str_raises(session, raises):
    stubborn = session.global_("probe", "Stubborn")()
    with raises(deploy.ErrorCode.PYTHON) as caught:
        str(stubborn)
    assert caught.value.message == "ValueError: no text"
    assert repr(stubborn) == "<deploy.Object (python)>"


def test_hasattr_is_false_for_attribute_errors_only(session, raises):
    stubborn = session.global_("probe", "Stubborn")()
    assert not stubborn.hasattr("nothing")
    with raises(deploy.ErrorCode.PYTHON) as caught:
        stubborn.hasattr("broken")
    assert "the property is broken" in caught.value.message


def test_an_error_is_a_plain_exception(session):
    with pytest.raises(deploy.Error) as caught:
        session.global_("probe", "fail")("KeyError", "k")
    assert isinstance(caught.value, Exception)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.code, copy.message, copy.python_type) == (deploy.ErrorCode.PYTHON, "KeyError: 'k'", "KeyError")
    assert copy.traceback == caught.value.traceback


def test_a_host_exception_in_an_argument_is_raised_as_it_is(session):
    class Strange(dict):
        def items(self):
            raise LookupError("not today")

    with pytest.raises(LookupError, match="not today"):
        session.from_value(Strange(a=1))
