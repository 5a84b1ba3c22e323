"""A session is a thread's hold on one interpreter; Objects belong to it."""

import threading
import time

import pytest

import deploy


def test_global_import_call_attr_and_conversion(session):
    assert session.global_("math", "gcd")(12, 18).to_value() == 6
    assert session.import_module("os.path").call_method("join", "a", "b").to_value() == "a/b"
    assert session.global_("os", "path.sep").to_value() == "/"
    sys = session.import_module("sys")
    assert sys.attr("version_info").attr("major").to_value() == 3
    assert sys.hasattr("path")
    assert not sys.hasattr("nothing")


def test_an_object_describes_itself(session):
    value = session.global_("fractions", "Fraction")(1, 3)
    assert value.type_name() == "fractions.Fraction"
    assert str(value) == "1/3"
    assert repr(value) == "<deploy.Object fractions.Fraction: 1/3>"
    assert session.from_value(None).type_name() == "NoneType"


def test_an_object_is_an_argument_in_its_own_session(session):
    items = session.global_("builtins", "list")((1, 2))
    items.call_method("append", items.call_method("count", 1))
    items.call_method("extend", {"nested": [items]}.keys().__len__() * [9])
    assert session.global_("builtins", "sum")(items).to_value() == 13
    assert session.from_value([items, 1]).to_value() == [[1, 2, 1, 9], 1]


def test_torch_runs_inside(session, torch):
    x = torch.randn(3)
    y = session.global_("torch", "sigmoid")(x).to_value()
    assert torch.equal(torch.from_dlpack(y), torch.sigmoid(x))


def test_an_object_is_unusable_after_its_session(bare_manager, raises):
    with bare_manager.acquire_session() as session:
        value = session.from_value([1])
    assert session.closed
    for use in (value.to_value, value, lambda: value.attr("x"), lambda: value.hasattr("x"), value.type_name, lambda: str(value)):
        with raises(deploy.ErrorCode.WRONG_SESSION) as caught:
            use()
        assert "session" in caught.value.message
    assert repr(value) == "<deploy.Object (wrong_session)>"
    with bare_manager.acquire_session() as session:
        with raises(deploy.ErrorCode.WRONG_SESSION):
            session.global_("builtins", "len")(value)
        assert session.global_("builtins", "len")([1]).to_value() == 1


def test_an_object_belongs_to_its_interpreter(bare_manager, raises):
    first, second = bare_manager.interpreters
    with first.acquire_session() as one, second.acquire_session() as two:
        value = one.from_value([1])
        assert value.is_owner(one)
        assert not value.is_owner(two)
        with raises(deploy.ErrorCode.WRONG_SESSION) as caught:
            two.global_("builtins", "len")(value)
        assert "interpreter" in caught.value.message
        assert two.global_("builtins", "len")([1, 2]).to_value() == 2
        assert value.to_value() == [1]


def test_a_session_belongs_to_its_thread(bare_manager):
    codes = []
    with bare_manager.acquire_session() as session:
        value = session.from_value(1)

        def use():
            for call in (lambda: session.global_("math", "pi"), value.to_value):
                try:
                    call()
                except deploy.Error as error:
                    codes.append(error.code)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert session.global_("math", "floor")(1.5).to_value() == 1
    assert codes == [deploy.ErrorCode.WRONG_SESSION] * 2


def test_a_session_is_closed_by_its_own_thread_only(bare_manager):
    codes = []
    with bare_manager.acquire_session() as session:

        def close():
            try:
                session.close()
            except deploy.Error as error:
                codes.append(error.code)

        thread = threading.Thread(target=close)
        thread.start()
        thread.join()
        assert not session.closed
        assert session.from_value(1).to_value() == 1
    assert codes == [deploy.ErrorCode.WRONG_SESSION]


def test_a_session_that_another_thread_drops_ends_with_its_own_thread(bare_manager):
    sessions, dropped = [], threading.Event()

    def acquire():
        sessions.append(bare_manager.interpreters[0].acquire_session())
        dropped.wait()

    thread = threading.Thread(target=acquire)
    thread.start()
    while not sessions:
        time.sleep(0.001)
    sessions.clear()
    dropped.set()
    with bare_manager.interpreters[0].acquire_session() as session:
        assert session.from_value(1).to_value() == 1
    thread.join()


def test_a_closed_session_says_so(bare_manager, raises):
    session = bare_manager.acquire_session()
    assert not session.closed
    session.close()
    session.close()
    assert session.closed
    for use in (lambda: session.global_("math", "pi"), lambda: session.from_value(1), lambda: session.import_module("math")):
        with raises(deploy.ErrorCode.CLOSED):
            use()


def test_sessions_nest_on_one_interpreter_and_on_several(bare_manager):
    first, second = bare_manager.interpreters
    with first.acquire_session() as one, second.acquire_session() as two, first.acquire_session() as three:
        assert one.interpreter.id == three.interpreter.id != two.interpreter.id
        inner = three.from_value([1])
        assert inner.is_owner(one)
        assert [s.global_("builtins", "abs")(-i).to_value() for i, s in enumerate((one, two, three))] == [0, 1, 2]
    with bare_manager.acquire_session() as a, bare_manager.acquire_session() as b, bare_manager.acquire_session() as c:
        ids = [session.interpreter.id for session in (a, b, c)]
        assert len(set(ids)) == 2
        assert c.global_("math", "gcd")(4, 6).to_value() == 2


def test_an_inner_session_may_end_before_or_after_the_outer_one(bare_manager):
    interpreter = bare_manager.interpreters[0]
    outer = interpreter.acquire_session()
    inner = interpreter.acquire_session()
    outer.close()
    assert inner.global_("math", "gcd")(4, 6).to_value() == 2
    inner.close()
    with interpreter.acquire_session() as again:
        assert again.from_value(1).to_value() == 1


def test_a_session_without_a_name_ends_at_once(bare_manager):
    for _ in range(20):
        assert bare_manager.interpreters[0].acquire_session().interpreter.id == bare_manager.interpreters[0].id
    done = threading.Event()

    def use():
        with bare_manager.interpreters[0].acquire_session():
            done.set()

    threading.Thread(target=use).start()
    assert done.wait(10)


def test_objects_may_be_dropped_anywhere_at_any_time(bare_manager):
    with bare_manager.acquire_session() as session:
        objects = [session.from_value(list(range(10))) for _ in range(200)]
    thread = threading.Thread(target=objects.clear)
    thread.start()
    thread.join()
    assert bare_manager.acquire_session().from_value(1).to_value() == 1


def test_an_interpreter_of_its_own(raises):
    interpreter = deploy.Interpreter(deploy.Environment.bare())
    interpreter.register_module("own", "x = [1, 2]")
    with interpreter.acquire_session() as session:
        value = session.global_("own", "x")
        assert value.to_value() == [1, 2]
        with raises(deploy.ErrorCode.INVALID_ARGUMENT):
            session.replicate(value)
    assert repr(interpreter) == f"<deploy.Interpreter {interpreter.id}>"


def test_a_session_keeps_its_manager_alive():
    session = deploy.InterpreterManager(environment=deploy.Environment.bare()).acquire_session()
    assert session.global_("math", "gcd")(4, 6).to_value() == 2
    session.close()


def test_only_an_object_can_be_replicated(session):
    with pytest.raises(TypeError):
        session.replicate(5)


GIL = """
import ctypes

def take():
    state = ctypes.pythonapi.PyGILState_Ensure()
    ctypes.pythonapi.PyGILState_Release(state)
    return state
"""


def test_native_code_finds_its_threads_state_after_another_thread_has_gone(bare_manager):
    """Extension modules take the GIL with PyGILState_Ensure wherever they are called from (numpy does, to free a DLPack tensor)."""
    bare_manager.register_module("take_gil", GIL)

    states = []

    def take():
        with bare_manager.interpreters[0].acquire_session() as session:
            states.append(session.global_("take_gil", "take")().to_value())

    take()
    for _ in range(3):
        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        take()
    LOCKED = 0  # PyGILState_LOCKED: the thread's own state was found
    assert states == [LOCKED] * 16
