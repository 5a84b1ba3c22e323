"""Packages that torch.package wrote: their objects, texts and bytes; and files that are no packages."""

import os
import pathlib
import threading
import zipfile

import pytest

import deploy

torch = pytest.importorskip("torch", reason="torch is not in this environment")


@pytest.fixture(scope="module")
def load(manager, packages):
    """load(name) opens a package of the fixtures once."""
    opened = {}

    def load(name):
        if name not in opened:
            opened[name] = manager.load_package(packages / f"{name}.pt")
        return opened[name]

    return load


def expected(package):
    example = package.load_pickle("model", "example.pkl")
    with example.acquire_session() as session:
        example = session.from_replicated(example).to_value()
    return torch.from_dlpack(example["inputs"]), torch.from_dlpack(example["outputs"])


@pytest.mark.parametrize("name", ["simple", "torchscript"])
def test_a_model_gives_what_it_gave_where_it_was_packaged(load, name):
    package = load(name)
    inputs, outputs = expected(package)
    assert torch.equal(torch.from_dlpack(package.load_pickle("model", "model.pkl")(inputs)), outputs)


def test_an_fx_graph_module_comes_out_of_a_package(load):
    inputs, outputs = expected(load("simple"))
    assert torch.equal(torch.from_dlpack(load("fx").load_pickle("model", "model.pkl")(inputs)), outputs)


def test_methods_and_keyword_arguments(load):
    model = load("simple").load_pickle("model", "model.pkl")
    inputs, outputs = expected(load("simple"))
    result = model.call_method("scaled", inputs, factor=2.0)
    assert result["factor"] == 2.0
    assert torch.equal(torch.from_dlpack(result["out"]), outputs * 2)
    with model.acquire_session() as session:
        inside = session.from_replicated(model)
        assert inside.hasattr("weight")
        assert not inside.hasattr("nothing")
        assert torch.from_dlpack(inside.attr("weight").to_value()).shape == (10, 20)
        assert inside.attr("tied").call_method("data_ptr").to_value() == inside.attr("weight").call_method("data_ptr").to_value()


def test_an_object_that_is_no_torch_module(load):
    package = load("plain")
    assert package.load_pickle("model", "double.pkl")(21) == 42
    counter = package.load_pickle("model", "counter.pkl")
    assert counter(step=2) == 7
    assert counter.call_method("point") == (7, -7) or counter.call_method("point") == (5, -5)


def test_texts_and_bytes(load):
    package = load("simple")
    assert package.load_text("extra", "labels.txt") == "cat\ndög\n"
    assert package.load_binary("extra", "blob") == bytes(range(256))


def test_code_reads_the_resources_of_its_package(load):
    reader = load("resources").load_pickle("model", "model.pkl")
    assert reader.call_method("by_importer") == "cat\n"
    assert reader.call_method("by_resources") == "one two\n"


def test_a_package_names_its_records_and_its_path(load, packages):
    package = load("simple")
    assert package.path == str(packages / "simple.pt")
    assert {"model/model.pkl", "extra/labels.txt", "extra/blob", ".data/version", "simple_model.py"} <= set(package.records())
    assert repr(package) == f"<deploy.Package {package.path}>"


def test_two_packages_with_the_same_module_names_are_kept_apart(load):
    a, b = (load(f"version_{v}").load_pickle("model", "model.pkl") for v in "ab")
    assert a() != b()
    assert [a(), b()] == [a(), b()]


def test_in_place_writes_stay_in_their_interpreter(manager, load):
    model = load("simple").load_pickle("model", "model.pkl")
    firsts = []
    with manager.interpreters[0].acquire_session() as one, manager.interpreters[1].acquire_session() as two:
        here, there = one.from_replicated(model), two.from_replicated(model)
        before = there.call_method("first").to_value()
        here.call_method("add_", 100.0)
        firsts = [here.call_method("first").to_value(), there.call_method("first").to_value()]
        here.call_method("add_", -100.0)
    assert firsts[1] == before
    assert firsts[0] == pytest.approx(before + 100.0)


def private_bytes(path):
    """The largest number of bytes in one mapping of the file that are no longer pages of the file."""
    total, inside = 0, False
    for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
        fields = line.split()
        if "-" in fields[0] and not fields[0].endswith(":"):
            inside = str(path) in line
        elif inside and fields[0] == "Anonymous:":
            total = max(total, int(fields[1]) * 1024)
    return total


def test_weights_are_pages_of_the_file(load, packages):
    model = load("big").load_pickle("model", "model.pkl")
    model.preload()
    x = torch.ones(4096, 1)
    for _ in range(2):
        model(x)
    assert private_bytes(packages / "big.pt") < 2**20


def test_preload_makes_the_object_everywhere(manager, load):
    model = load("simple").load_pickle("model", "model.pkl")
    model.preload()
    for interpreter in manager.interpreters:
        with interpreter.acquire_session() as session:
            assert session.from_replicated(model).type_name() == "simple_model.SimpleModel"


def test_a_package_keeps_its_manager_alive(packages):
    package = deploy.InterpreterManager(environment=deploy.Environment.bare()).load_package(packages / "plain.pt")
    assert package.load_pickle("model", "double.pkl")(1) == 2


# Code that misbehaves.


def test_an_exception_in_the_model_has_its_traceback_and_the_next_call_works(load, raises):
    model = load("misbehaving").load_pickle("model", "model.pkl")
    with raises(deploy.ErrorCode.PYTHON) as caught:
        model("raise")
    assert caught.value.message == "ValueError: cannot use 'raise'"
    assert 'raise ValueError(f"cannot use {value!r}")' in caught.value.traceback
    with raises(deploy.ErrorCode.PYTHON) as caught:
        model("chain")
    assert caught.value.python_type == "RuntimeError"
    assert "The above exception was the direct cause" in caught.value.traceback
    assert model("fine") == "fine"


@pytest.mark.parametrize(("kind", "python_type"), [("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt")])
def test_a_model_cannot_end_the_process(load, raises, kind, python_type):
    model = load("misbehaving").load_pickle("model", "model.pkl")
    with raises(deploy.ErrorCode.PYTHON) as caught:
        model(kind)
    assert caught.value.python_type == python_type
    assert model("fine") == "fine"


def test_an_output_that_is_no_value_is_a_handle_and_a_session_can_hold_it(load):
    model = load("misbehaving").load_pickle("model", "model.pkl")
    assert repr(model).startswith("<deploy.ReplicatedObject model/model.pkl of /")
    assert model("opaque")["result"][0].type_name() == "misbehaving.Opaque"
    with model.acquire_session() as session:
        held = session.from_replicated(model)("opaque").call_method("__getitem__", "result").call_method("pop")
        assert held.type_name() == "misbehaving.Opaque"


def test_a_bad_pickle_is_an_error_and_the_next_one_loads(load, raises):
    package = load("misbehaving")
    with raises(deploy.ErrorCode.PYTHON) as caught:
        package.load_pickle("model", "fails.pkl")
    assert caught.value.message == "ValueError: cannot use 'the pickle'"
    with pytest.raises(deploy.Error) as caught:
        package.load_pickle("model", "garbage.pkl")
    assert caught.value.code in (deploy.ErrorCode.PYTHON, deploy.ErrorCode.INVALID_PACKAGE)
    assert package.load_pickle("model", "model.pkl")("fine") == "fine"


def test_a_bad_argument_is_the_models_error(load, raises):
    model = load("simple").load_pickle("model", "model.pkl")
    with raises(deploy.ErrorCode.PYTHON):
        model(torch.ones(3, 3))
    with raises(deploy.ErrorCode.PYTHON) as caught:
        model()
    assert caught.value.python_type == "TypeError"
    with raises(deploy.ErrorCode.NOT_A_VALUE):
        model(object())
    inputs, outputs = expected(load("simple"))
    assert torch.equal(torch.from_dlpack(model(inputs)), outputs)


# Records and files that are not there, or not what they should be.


def test_a_record_that_does_not_exist_is_named_with_those_that_do(load, raises):
    package = load("simple")
    for use in (
        lambda: package.load_pickle("model", "other.pkl"),
        lambda: package.load_text("model", "other.txt"),
        lambda: package.load_binary("nowhere", "other.bin"),
    ):
        with raises(deploy.ErrorCode.NOT_FOUND) as caught:
            use()
        assert "other." in caught.value.message
        assert "model/model.pkl" in caught.value.message
    assert package.load_text("extra", "labels.txt")


def test_all_missing_externs_are_named_at_once(manager, packages, raises):
    with raises(deploy.ErrorCode.MISSING_EXTERN) as caught:
        manager.load_package(packages / "absent.pt")
    assert "absent_one" in caught.value.message
    assert "absent_two" in caught.value.message
    manager.load_package(packages / "simple.pt")


def test_a_file_that_does_not_exist(manager, tmp_path, raises):
    with raises(deploy.ErrorCode.NOT_FOUND) as caught:
        manager.load_package(tmp_path / "none.pt")
    assert str(tmp_path / "none.pt") in caught.value.message


def test_a_directory_is_no_package(manager, tmp_path):
    with pytest.raises(deploy.Error) as caught:
        manager.load_package(tmp_path)
    assert caught.value.code in (deploy.ErrorCode.INVALID_PACKAGE, deploy.ErrorCode.INVALID_ARGUMENT)
    assert "directory" in caught.value.message
    assert str(tmp_path) in caught.value.message


def write_zip(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"data")


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path, whole: path.write_bytes(b""), "empty"),
        (lambda path, whole: path.write_bytes(whole[: len(whole) // 2]), "truncated"),
        (lambda path, whole: path.write_bytes(b"no zip at all" * 100), "zip"),
        (lambda path, whole: write_zip(path, ["root/a.txt", "root/b.txt"]), "package"),
        (lambda path, whole: write_zip(path, ["a.txt"]), "package"),
    ],
    ids=["empty", "truncated", "no zip", "zip without .data", "zip without root"],
)
def test_a_file_that_is_no_package_is_refused_and_the_next_one_loads(manager, packages, tmp_path, raises, write, says):
    path = tmp_path / "bad.pt"
    write(path, (packages / "simple.pt").read_bytes())
    with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
        manager.load_package(path)
    assert str(path) in caught.value.message
    assert says in caught.value.message
    assert manager.load_package(packages / "plain.pt").load_pickle("model", "double.pkl")(1) == 2


def test_a_path_may_be_a_str_or_pathlike_but_nothing_else(manager, packages):
    manager.load_package(str(packages / "plain.pt"))
    manager.load_package(os.fsencode(packages / "plain.pt"))
    with pytest.raises(TypeError):
        manager.load_package(7)


def test_a_package_of_a_closed_manager_says_so(packages, raises):
    with deploy.InterpreterManager(environment=deploy.Environment.bare()) as manager:
        package = manager.load_package(packages / "plain.pt")
        double = package.load_pickle("model", "double.pkl")
        assert double(2) == 4
    for use in (lambda: double(2), lambda: package.load_pickle("model", "double.pkl"), double.acquire_session, double.preload):
        with raises(deploy.ErrorCode.CLOSED):
            use()


def test_calls_while_the_manager_closes_end_or_say_closed(packages):
    manager = deploy.InterpreterManager(interpreters=2, environment=deploy.Environment.bare())
    double = manager.load_package(packages / "plain.pt").load_pickle("model", "double.pkl")
    double.preload()
    outcomes, started = [], threading.Barrier(5)

    def call():
        started.wait()
        try:
            for i in range(100000):
                assert double(i) == 2 * i
        except deploy.Error as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    manager.close()
    for thread in threads:
        thread.join()
    assert outcomes == [deploy.ErrorCode.CLOSED] * 4
