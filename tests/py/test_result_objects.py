"""Parts of a result that have no plain form come as handles that belong to no session."""

import gc
import threading

import pytest

import deploy

CODE = """
import dataclasses

class Cache:
    def __init__(self, length=1):
        self.length = length

    def longer(self, by):
        return Cache(self.length + by)

@dataclasses.dataclass
class Output:
    logits: object
    cache: object

def generate(cache=None):
    cache = (cache or Cache()).longer(1)
    return {"tokens": [1, 2], "cache": cache}

def output(): return Output([0.5], Cache())
def posterior(): return Cache()
def length(tree): return tree["in"][0].length
"""


@pytest.fixture(scope="module")
def function():
    manager = deploy.InterpreterManager(interpreters=2, environment=deploy.Environment.bare())
    manager.register_module("made", CODE)

    def replicated(name):
        with manager.acquire_session() as session:
            return session.replicate(session.global_("made", name))

    return replicated


def test_the_fields_that_have_a_value_come_and_handles_for_the_rest(function):
    result = function("generate")()
    assert result["tokens"] == [1, 2]
    cache = result["cache"]
    assert isinstance(cache, deploy.Object)
    assert not cache.has_session
    assert repr(cache) == "<deploy.Object without a session: made.Cache>"
    assert cache.type_name() == "made.Cache"
    assert cache.attr("length").to_value() == 2
    assert cache.call_method("longer", 3).attr("length").to_value() == 5


def test_a_result_without_any_value_is_a_handle(function, raises):
    posterior = function("posterior")()
    assert posterior.attr("length").to_value() == 1
    with raises(deploy.ErrorCode.NOT_A_VALUE) as caught:
        posterior.to_value()
    assert "made.Cache" in caught.value.message


def test_a_dataclass_comes_as_a_dict(function):
    result = function("output")()
    assert result["logits"] == [0.5]
    assert result["cache"].type_name() == "made.Cache"


def test_a_handle_as_an_argument_takes_the_call_to_its_interpreter(function):
    generate, length = function("generate"), function("length")
    result = generate()
    for _ in range(6):
        other = threading.Thread(target=generate)
        other.start()
        other.join()
        result = generate(cache=result["cache"])
    assert result["cache"].attr("length").to_value() == 8
    assert length({"in": [result["cache"]]}) == 8


def test_any_thread_may_use_a_handle(function):
    cache = function("posterior")()
    lengths = []
    threads = [threading.Thread(target=lambda: lengths.append(cache.attr("length").to_value())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [1] * 8


def test_a_session_of_another_interpreter_refuses_it(function, raises):
    generate = function("generate")
    cache = generate()["cache"]
    with generate.acquire_session() as one, generate.acquire_session() as other:
        assert sorted(cache.is_owner(each) for each in (one, other)) == [False, True]
        wrong = other if cache.is_owner(one) else one
        with raises(deploy.ErrorCode.WRONG_SESSION):
            wrong.from_value(cache)


def test_a_handle_keeps_its_manager_and_close_ends_it(raises):
    def make():
        manager = deploy.InterpreterManager(environment=deploy.Environment.bare())
        manager.register_module("made", CODE)
        with manager.acquire_session() as session:
            return manager, session.replicate(session.global_("made", "posterior"))

    handle = make()[1]().attr("longer")
    gc.collect()
    assert handle(4).attr("length").to_value() == 5
    manager, posterior = make()
    handle = posterior()
    manager.close()
    with raises(deploy.ErrorCode.CLOSED):
        handle.attr("length")
    assert repr(handle) == "<deploy.Object without a session: made.Cache>"


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda handle: handle.length, ".attr('length')"),
        (lambda handle: setattr(handle, "length", 2), "call_method('__setattr__', 'length', value)"),
        (len, "object.call_method('__len__', ...)"),
        (lambda handle: handle[0], "object.to_value()"),
        (list, "object.to_value()"),
        (float, "object.to_value()"),
    ],
    ids=["attribute", "write", "len", "index", "iteration", "float"],
)
def test_what_a_handle_does_not_do_says_what_does(function, use, said):
    handle = function("posterior")()
    with pytest.raises((AttributeError, TypeError)) as caught:
        use(handle)
    assert said in str(caught.value)
    assert handle


def test_a_models_attributes_and_methods_say_how(function):
    model = function("generate")
    with pytest.raises(AttributeError, match=r"model.call_method\('eval', ...\).*from_replicated\(model\).attr\('eval'\)"):
        model.eval()
    with pytest.raises(AttributeError, match="takes no attribute 'training'"):
        model.training = False
    assert not hasattr(model, "no_such_thing")


def test_reprs_say_what_things_are():
    manager = deploy.InterpreterManager(interpreters=2, environment=deploy.Environment.bare())
    assert repr(manager) == "<deploy.InterpreterManager of 2 interpreters>"
    with manager.acquire_session() as session:
        assert repr(session) == f"<deploy.InterpreterSession of interpreter {session.interpreter.id}>"
        replica = session.replicate(session.from_value([1]))
        said = []
        thread = threading.Thread(target=lambda: said.append(repr(session)))
        thread.start()
        thread.join()
        assert said == ["<deploy.InterpreterSession (another thread's)>"]
    assert repr(session) == "<deploy.InterpreterSession (closed)>"
    assert repr(replica) == "<deploy.ReplicatedObject of an object of a session>"
    manager.close()
    assert repr(manager) == "<deploy.InterpreterManager (closed)>"


def test_the_builtins_of_an_interactive_python_are_there(function):
    manager = deploy.InterpreterManager(environment=deploy.Environment.bare())
    manager.register_module("look", "def look(name): return type(__builtins__[name]).__name__\ndef say(): return str(license)")
    with manager.acquire_session() as session:
        look = session.global_("look", "look")
        kinds = {name: look(name).to_value() for name in ("help", "copyright", "credits", "license", "exit", "quit")}
        assert kinds["help"] == "_Helper"
        assert kinds["copyright"] == kinds["credits"] == kinds["license"] == "_Printer"
        assert kinds["exit"] == kinds["quit"] == "Quitter"
        assert "psf/license" in session.global_("look", "say")().to_value()
        with pytest.raises(deploy.Error) as caught:
            session.global_("builtins", "exit")(3)
        assert caught.value.python_type == "SystemExit"
