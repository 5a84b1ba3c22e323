"""deploy.package.inspect and the commands on files that were made to do harm: bounded, one clear line, nothing on the terminal."""

import collections
import io
import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys

import manifest_packages
import pytest

import deploy
from deploy.package import inspect
from deploy.package.command import main
from deploy.package.pickle_machine import Machine
from deploy.package.pickle_source import Budget, DamagedPickle, Source, TooLarge

HERE = pathlib.Path(__file__).parent
HARMLESS = b"\x80\x04\x8c\x08harmless."
MIB = 1 << 20

# One after the other in a process with little memory: what each gives, in JSON.
LIMITED = f"""
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({1200 * MIB}, {1200 * MIB}))
import deploy
from deploy.package import inspect
answers = {{}}
for path in sys.argv[1:]:
    try:
        answers[path] = "answer: " + str(inspect(path))
    except deploy.Error as error:
        answers[path] = "error: " + str(error)
print(json.dumps(answers))
"""


def nested_by_reuse(depth):
    return b"\x80\x04)" + b"2\x86" * depth


def many(code, count=MIB):
    return code * count


ATTACKS = {
    "a key nested by reuse": (b"\x80\x04}" + nested_by_reuse(470)[2:] + b"K\x01s.", "dict|model"),
    "a member nested by reuse": (b"\x80\x04\x8f(" + nested_by_reuse(400)[2:] + b"\x90.", "model"),
    "a frozen set of it": (b"\x80\x04(" + nested_by_reuse(400)[2:] + b"\x91.", "model"),
    "an attribute of it": (b"ca\nb\n)\x81}" + nested_by_reuse(400)[2:] + b"K\x01sb.", "a.b"),
    "lists": (many(b"]") + b".", "list"),
    "tuples in tuples": (b")" + many(b"\x85") + b".", "too large to be shown: it is nested more than 10,000 levels deep"),
    "lists in lists": (many(b"]") + many(b"a", MIB - 1) + b".", "too large to be shown: it is nested more than 10,000 levels deep"),
    "more values than there may be": (many(b"]", 3 * MIB) + b".", "too large to be shown: it has too many values"),
    "marks": (many(b"(", MIB // 2) + b"N.", "NoneType"),
    "more marks than there may be": (many(b"(") + b"N.", "too large to be shown: it has too many values at once"),
    "one value again and again": (b"N" + many(b"2", 2 * MIB) + b".", "too large to be shown: it has too many values at once"),
    "calls of calls": (b"ca\nb\n" + many(b")R") + b".", "object"),
    "states": (b"ca\nb\n)R" + many(b"}b") + b".", "a.b"),
    "one state for many": (
        b"}\x94(" + many(b"\x8c\x01a]", 100_000) + b"u0](" + many(b"ca\nb\n)\x81h\x00b", 100_000) + b"e.",
        "too large to be shown: it has too many parts",
    ),
    "a memo with holes": (
        b"N" + b"".join(b"r" + struct.pack("<I", i * 4099 % (1 << 32)) for i in range(200_000)) + b".",
        "NoneType",
    ),
    "operations without end": (b"N" + many(b"N0", 6 * MIB) + b".", "too large to be shown: it has too many operations"),
    "a long text": (b"X" + struct.pack("<I", 8 * MIB) + many(b"x", 8 * MIB) + b".", "str"),
    "a large number": (b"\x8b" + struct.pack("<I", 4 * MIB) + many(b"\xff", 4 * MIB) + b".", "Opaque"),
    "a number of many digits": (b"L" + b"9" * 60_000 + b"L\n.", "Opaque"),
    "a line without end": (b"V" + many(b"x", 8 * MIB), "no pickle: a line has more than 65536 bytes"),
    "a size that is not there": (b"\x8e" + b"\xff" * 7 + b"\x7f.", "no pickle: it ends too early"),
    "a negative size": (b"T\xff\xff\xff\xff.", "no pickle: a value has a negative size"),
    "nothing": (b"", "no pickle: it ends too early"),
    "no operation": (b"\x80\x04\xff.", "no pickle: no operation 0xff"),
    "a protocol to come": (b"\x80\x09N.", "no pickle: protocol 9 is not known"),
    "too few values": (b"R.", "no pickle: an operation finds too few values"),
    "no mark": (b"t.", "no pickle: an operation finds no mark"),
    "a hole in the memo": (b"h\x05.", "no pickle: nothing is at a place in the memo"),
    "a place below zero": (b"Np-1\n.", "no pickle: a place in the memo is no number"),
    "an odd dict": (b"(K\x01d.", "no pickle: a key has no value"),
    "items of a number": (b"K\x01(K\x01K\x02u.", "no pickle: items are set in something that is no dict"),
    "values for a number": (b"K\x01K\x02a.", "no pickle: values are added to something that is no list"),
    "a global of numbers": (b"K\x01K\x02\x93.", "no pickle: the name of a global is no text"),
    "a text without quotes": (b"Sabc\n.", "no pickle: a text is not in quotes"),
    "a number that is none": (b"Iabc\n.", "no pickle: a number is none"),
}


def test_hostile_pickles_are_answered_or_refused_in_little_memory(tmp_path):
    paths = {}
    for number, (name, (data, _)) in enumerate(ATTACKS.items()):
        paths[name] = str(manifest_packages.write(tmp_path / f"{number}.pt", {"model/model.pkl": data}, manifest=False))
    done = subprocess.run([sys.executable, "-c", LIMITED, *paths.values()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for name, (_, says) in ATTACKS.items():
        answer = answers[paths[name]]
        if says.startswith("no pickle"):
            assert answer == f"error: {paths[name]!r} is damaged: record 'model/model.pkl': {says}", name
        else:
            assert answer.startswith("answer: ") and any(each in answer for each in says.split("|")), (name, answer)
            assert len(answer) < 1000, name


def test_random_and_mutated_packages_are_answered_or_refused_in_one_line(tmp_path):
    command = [sys.executable, str(HERE / "inspect_fuzzer.py"), str(tmp_path), "--count", "1500"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert sum(summary["answered"].values()) + sum(summary["refused"].values()) == 1500
    assert min(summary["answered"].values()) > 0 and min(summary["refused"].values()) > 0
    assert summary["peak_mib"] < 500


def read(data, **limits):
    return Machine(Source(lambda begin, size: data[begin : begin + size], len(data)), Budget(**limits)).run()


def test_the_budget_is_one_for_all_pickles_and_is_kept():
    budget = Budget(operations=100, values=10)
    source = Source(lambda begin, size: (b"N0" * 40 + b"N.")[begin : begin + size], 82)
    Machine(source, budget).run()
    assert budget.operations == 18
    with pytest.raises(TooLarge, match="too many operations"):
        read(b"N0" * 40 + b"N.", operations=81)
    with pytest.raises(TooLarge, match="too many values"):
        read(b"]" * 11 + b".", values=10)


@pytest.mark.parametrize("protocol", range(6))
def test_every_cut_of_a_pickle_is_damage_and_the_whole_is_none(protocol):
    value = {"a": [1, 2.5, "text", b"bytes", None, True, (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "b": {1, 2}, "c": frozenset("x")}
    value["d"] = [
        collections.OrderedDict(x=1),
        pathlib.PurePosixPath("a"),
        1 << 70,
        -1,
        1 << 30,
        io.BytesIO,
        "x" * 300,
        bytearray(b"x"),
    ]
    data = pickle.dumps(value, protocol)
    assert read(data) is not None
    for size in range(len(data)):
        with pytest.raises(DamagedPickle):
            read(data[:size])


def test_a_window_that_moves_changes_nothing(monkeypatch):
    value = [{"name": f"n{i}", "data": b"x" * (i * 7 % 300), "text": "é" * (i % 400)} for i in range(300)]
    data = pickle.dumps(value, 4)
    whole = read(data).count
    for window in (1, 2, 7, 64, 1000):
        monkeypatch.setattr("deploy.package.pickle_source._WINDOW", window)
        assert read(data).count == whole == 300


# Terminals


UGLY = "\x1b[31m\x07\x9b1m\u202egpj\u2066\u200b\u2028\ufeff\u00ad\u3164end"
ESCAPED = r"\x1b[31m\x07\x9b1m\u202egpj\u2066\u200b\u2028\ufeff\xad\u3164end"


def is_plain(text):
    return all(character.isprintable() or character == "\n" for character in text)


def test_names_of_a_file_reach_the_terminal_escaped(tmp_path, capsys):
    text = UGLY.encode()
    # What the archive's reader lets pass in a name: no C0, no DEL.
    name = UGLY.replace("\x1b", "").replace("\x07", "")
    data = b"c" + text + b"\n" + text + b"\n)\x81}\x8c\x08_modules}s" + b"X" + struct.pack("<I", len(text)) + text + b"}sb."
    plain = manifest_packages.write(
        tmp_path / "plain.pt",
        {f"{name}/{name}.pkl": data, f"{name}/code.py": b"", "model/model.pkl": data},
        externs=[(UGLY.replace("\n", ""), None, None)],
        manifest=False,
    )
    manifest = {
        "writer": UGLY,
        "python": UGLY,
        "torch": UGLY,
        "callables": [
            {"package": UGLY, "resource": UGLY, "type": UGLY, "method": UGLY, "signature": [{"name": UGLY, "kind": UGLY}]}
        ],
        "interned": [{"distribution": UGLY, "version": UGLY, "modules": [UGLY], "reason": UGLY}],
        "own_modules": [UGLY],
        "externs": [{"module": UGLY, "distribution": UGLY, "version": UGLY, "stdlib": False}, {"module": UGLY, "stdlib": True}],
        "examples": [{"callable": 0, "inputs": [UGLY, UGLY]}],
    }
    full = manifest_packages.write(tmp_path / "full.pt", {f"{name}/x.pkl": data, "model/model.pkl": data}, manifest=manifest)
    for path in (plain, full):
        assert main(["inspect", str(path), "--depth", "9"]) == 0
        shown = capsys.readouterr().out
        assert is_plain(shown)
        assert ESCAPED in shown and ESCAPED.replace(r"\x1b", "").replace(r"\x07", "") in shown


def test_errors_that_name_what_a_file_has_are_one_line_and_escaped(tmp_path, capsys, bare):
    name = "\x9b1m\u202egpj\u2028x"
    path = manifest_packages.write(tmp_path / "a.pt", {f"{name}/model.pkl": b"\xff", "a/b": b"123"}, manifest=False)
    assert main(["inspect", str(path)]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and is_plain(told) and r"record '\x9b1m\u202egpj\u2028x/model.pkl'" in told
    with pytest.raises(deploy.Error) as caught:
        bare.load_package(path).load_binary("a", "c")
    assert is_plain(caught.value.message) and r"\x9b1m\u202egpj\u2028x/model.pkl" in caught.value.message
    path = manifest_packages.write(tmp_path / "b.pt", {}, manifest={"python": "9.9\nforged: \x1b[31m"})
    for command in ("run", "verify"):
        assert main([command, str(path)]) == 1
        told = capsys.readouterr().err
        assert r"9.9\x0aforged: \x1b[31m" in told and is_plain(told)


def test_a_name_that_is_no_utf_8_and_an_output_that_is_not_either(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff\xc3\xa9.pt"
    manifest_packages.write(os.fsdecode(name), {"model/é.pkl": HARMLESS}, manifest=False, root="a")
    home = str(pathlib.Path(deploy.__file__).parent.parent)
    for encoding in ("utf-8", "ascii", "latin-1"):
        environment = {**os.environ, "PYTHONPATH": home, "PYTHONIOENCODING": encoding}
        line = [sys.executable, "-m", "deploy", "inspect"]
        done = subprocess.run([*line, name], env=environment, capture_output=True, check=False)
        assert done.returncode == 0 and b"\\udcff" in done.stdout and done.stderr == b""
        assert ("\\xe9.pkl" if encoding == "ascii" else "é.pkl") in done.stdout.decode(encoding)
        done = subprocess.run([*line, name + b"x"], env=environment, capture_output=True, check=False)
        assert done.returncode == 1 and done.stdout == b"" and done.stderr.count(b"\n") == 1


def test_a_reader_of_the_output_may_leave(tmp_path):
    records = {f"m{i}/model.pkl": HARMLESS for i in range(3000)}
    path = manifest_packages.write(tmp_path / "a.pt", records, manifest=False)
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(deploy.__file__).parent.parent)}
    line = [sys.executable, "-m", "deploy", "inspect", str(path)]
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_long_lists_end_with_a_count(tmp_path):
    records = {f"m{i}/model.pkl": HARMLESS for i in range(2500)}
    path = manifest_packages.write(
        tmp_path / "a.pt", records, externs=[(f"extern_{i}", None, None) for i in range(60_000)], manifest=False
    )
    shown = str(inspect(path))
    assert "extern_1999 and 58,000 more" in shown and "extern_2000" not in shown
    assert "... 500 more pickles" in shown
    assert "x" * 200 + "... (2,000 characters)" in str(
        inspect(manifest_packages.write(tmp_path / "b.pt", {}, manifest={"writer": "x" * 2000}))
    )


def test_members_that_a_manifest_may_leave_out(tmp_path, bare):
    manifest = dict.fromkeys(("callables", "interned", "own_modules", "externs", "examples", "writer", "python", "torch"))
    path = manifest_packages.write(tmp_path / "a.pt", {"model/model.pkl": HARMLESS}, manifest=manifest)
    assert "written by ? (format 1) with Python ?" in str(inspect(path))
    assert deploy.package.run(path, method="upper") == "'HARMLESS'"
    assert deploy.package.verify(path).examples == 0
    empty = {"callables": [{}], "interned": [{}], "externs": [{}], "examples": [{"inputs": ["a", "b"]}]}
    assert "?/?: ?()" in str(inspect(manifest_packages.write(tmp_path / "b.pt", {}, manifest=empty)))


def test_an_example_whose_result_is_not_recorded_is_repeated(tmp_path):
    records = {
        "model/model.pkl": manifest_packages.pickled_global("builtins", "dict", call=False),
        "deploy_examples/0.inputs.pkl": pickle.dumps(((), {"a": 1})),
    }
    example = {"callable": 0, "inputs": ["deploy_examples", "0.inputs.pkl"], "outputs": None}
    manifest = {"callables": [manifest_packages.callable_entry("model", "model.pkl")], "examples": [example]}
    path = manifest_packages.write(tmp_path / "a.pt", records, manifest=manifest)
    assert "(result not recorded)" in str(inspect(path))
    verified = deploy.package.verify(path)
    assert (verified.examples, verified.compared) == (1, 0)
    assert deploy.package.run(path).split() == ["dict", "a:", "1"]


@pytest.mark.parametrize(
    ("example", "says"),
    [
        ({}, "an example has no 'inputs'"),
        ({"inputs": ["a", "b"], "seed": "x"}, "'seed' of an example is not a number"),
        ({"inputs": ["a", "b"], "threads": [1]}, "'threads' of an example is not a number"),
        ({"inputs": ["a", "b"], "tolerance": True}, "'tolerance' of an example is not a number"),
        ({"inputs": ["a", "b"], "seed": 1 << 63}, "'seed' of an example is not a number"),
    ],
)
def test_members_of_an_example_that_only_verify_uses_are_checked(tmp_path, capsys, example, says):
    path = manifest_packages.write(tmp_path / "a.pt", {}, manifest={"callables": [{}], "examples": [example]})
    for command in ("run", "verify"):
        assert main([command, str(path)]) == 1
        told = capsys.readouterr().err
        assert told == f"deploy: the manifest of package {str(path)!r} cannot be used: {says}\n"


# What is honest, and large or odd


def test_a_large_vocabulary_is_read(tmp_path):
    words = {f"word {i}": (i, f"text {i}") for i in range(200_000)}
    path = manifest_packages.write(tmp_path / "a.pt", {"model/model.pkl": pickle.dumps(words)}, manifest=False)
    contents = inspect(path)
    assert contents.not_shown == {} and contents.pickles["model/model.pkl"].kind == "dict"


def test_bytes_larger_than_a_window_are_passed_over(tmp_path):
    class Holder:
        pass

    Holder.__qualname__, Holder.__module__ = "Holder", "pathlib"
    pathlib.Holder = Holder
    holder = Holder()
    holder.data = b"x" * (5 * MIB)
    holder._modules = {"last": {}}
    for deflated in (0, 8):
        path = manifest_packages.write(
            tmp_path / "a.pt", {"model/model.pkl": pickle.dumps(holder)}, manifest=False, compression=deflated
        )
        assert inspect(path).pickles["model/model.pkl"].kind == "pathlib.Holder"


def test_a_deep_model_is_shown(tmp_path):
    data = b"\x80\x04" + b"cnet\nNet\n)\x81}\x8c\x08_modules}\x8c\x04next" * 5000 + b"N" + b"ssb" * 5000 + b"."
    path = manifest_packages.write(tmp_path / "a.pt", {"model/model.pkl": data}, manifest=False)
    contents = inspect(path)
    node, depth = contents.pickles["model/model.pkl"], 1
    while node.parts:
        node, depth = node.parts[0], depth + 1
    assert depth == 5000 and node.kind == "net.Net"
    assert str(contents).count("next: net.Net") == 4
    assert list(contents.pickles["model/model.pkl"].all_tensors()) == []


def test_the_shape_of_a_tensor_is_believed_only_if_it_can_be_one():
    from inspect_fuzzer import tensor_pickle

    from deploy.package.model_tree import tree_of

    for shape, found in (((2, 3), 24), ((0, 1 << 62), 0), ((1 << 62, 1 << 62), None), ((1 << 63,), None), ((1,) * 65, None)):
        tree = tree_of("model", read(tensor_pickle(shape)))
        tensors = dict(tree.all_tensors())
        assert ([tensor.nbytes for tensor in tensors.values()] or [None]) == [found]
        assert tree.nbytes == (found or 0) and tree.count_tensors() == len(tensors)
