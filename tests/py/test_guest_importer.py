"""The importer inside the interpreter (lib/package/guest), run in this Python: its files need nothing of libdeploy."""

import gc
import importlib
import importlib.resources
import importlib.util
import inspect
import os
import pathlib
import pickle
import pkgutil
import subprocess
import sys
import traceback
import types
import zipfile

import pytest

torch = pytest.importorskip("torch", reason="torch is not in this environment")

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def guest():
    """The modules of lib/package/guest as `_deploy.<name>`."""
    root = types.ModuleType("_deploy")
    root.__path__ = [str(HERE.parents[1] / "lib" / "package" / "guest")]
    sys.modules["_deploy"] = root
    names = ("archive", "package", "replica")
    yield types.SimpleNamespace(**{name: importlib.import_module(f"_deploy.{name}") for name in names})
    sys.meta_path.remove(sys.modules["_deploy.package"]._Finder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "_deploy"]:
        del sys.modules[name]


def records_of(path):
    """What lib/package/archive.cpp finds."""
    records = []
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        for info in archive.infolist():
            file.seek(info.header_offset + 26)
            name_size, extra_size = (int.from_bytes(file.read(2), "little") for _ in range(2))
            name = info.filename.partition("/")[2]
            offset = info.header_offset + 30 + name_size + extra_size
            records.append((name, offset, info.compress_size, info.file_size, info.compress_type == zipfile.ZIP_DEFLATED))
    return records


@pytest.fixture
def load(guest):
    """load(path) opens a package; all are closed after the test."""
    handles = []

    def load(path):
        fd = os.open(path, os.O_RDONLY)
        try:
            handles.append(guest.package.open(len(handles), fd, str(path), records_of(path)))
        finally:
            os.close(fd)
        return handles[-1].importer

    yield load
    handles.clear()
    gc.collect()


def rezip(source, target, change=lambda name, data: data, **options):
    """The same package written by Python's zipfile: not aligned, and deflated if `options` say so."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", **options) as new:
        for name in old.namelist():
            data = change(name.partition("/")[2], old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


# Pickles and weights


def test_a_model_gives_the_outputs_it_was_packaged_with(load, packages):
    package = load(packages / "simple.pt")
    model, example = package.load_pickle("model", "model.pkl"), package.load_pickle("model", "example.pkl")
    assert torch.equal(model(example["inputs"]), example["outputs"])
    assert model.tied is model.weight


def test_the_result_is_the_same_as_torch_packages(load, packages):
    ours = load(packages / "simple.pt").load_pickle("model", "model.pkl")
    theirs = torch.package.PackageImporter(packages / "simple.pt").load_pickle("model", "model.pkl")
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(ours.state_dict()[key], value) for key, value in theirs.state_dict().items())


def anonymous_kib(address):
    """Memory of its own that the mapping at `address` has. (Private_Dirty counts pages of a file that was just written, too.)"""
    found = False
    for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            first, last = (int(part, 16) for part in head.split("-"))
            found = first <= address < last
        elif found and head == "Anonymous:":
            return int(line.split()[1])
    raise AssertionError("no such mapping")


def test_weights_are_pages_of_the_file_until_they_are_written(load, packages):
    model = load(packages / "big.pt").load_pickle("model", "model.pkl")
    model(torch.ones(4096, 1))
    assert anonymous_kib(model.weight.data_ptr()) == 0
    with torch.no_grad():
        model.weight[0].fill_(1)
    assert 0 < anonymous_kib(model.weight.data_ptr()) <= 32


def test_an_in_place_write_stays_in_the_object_it_was_made_in(load, packages):
    package = load(packages / "simple.pt")
    one, other = package.load_pickle("model", "model.pkl"), package.load_pickle("model", "model.pkl")
    before = other.first()
    one.add_(1)
    assert other.first() == before
    assert one.first() == pytest.approx(before + 1)
    assert load(packages / "simple.pt").load_pickle("model", "model.pkl").first() == before


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_unaligned_and_compressed_records_are_copied(load, packages, tmp_path, compression):
    path = rezip(packages / "simple.pt", tmp_path / "copy.pt", compression=compression)
    package = load(path)
    model, example = package.load_pickle("model", "model.pkl"), package.load_pickle("model", "example.pkl")
    assert torch.equal(model(example["inputs"]), example["outputs"])
    assert model.weight.data_ptr() % 16 == 0


def test_map_location_is_obeyed(load, packages):
    model = load(packages / "simple.pt").load_pickle("model", "model.pkl", map_location="meta")
    assert model.weight.device.type == "meta"


def test_an_fx_graph_module_loads_from_two_packages_at_once(load, packages):
    models = [load(packages / "fx.pt").load_pickle("model", "model.pkl") for _ in range(2)]
    assert all(isinstance(model, torch.fx.GraphModule) for model in models)
    assert torch.equal(models[0](torch.ones(20, 3)), models[1](torch.ones(20, 3)))


def test_a_torchscript_module_held_by_a_python_module_runs_on_the_files_pages(load, packages, guest):
    package = load(packages / "torchscript.pt")
    model, example = package.load_pickle("model", "model.pkl"), package.load_pickle("model", "example.pkl")
    assert torch.equal(model(example["inputs"]), example["outputs"])
    address = model.inner.weight.data_ptr()
    mapped = [line for line in pathlib.Path("/proc/self/maps").read_text().splitlines() if line.endswith("torchscript.pt")]
    ranges = [[int(part, 16) for part in line.split()[0].split("-")] for line in mapped]
    assert any(first <= address < last for first, last in ranges)


def test_a_package_without_tensors_loads_without_torch(packages):
    script = f"""
import sys, types
sys.path.insert(0, {str(HERE)!r})
root = types.ModuleType("_deploy")
root.__path__ = [{str(HERE.parents[1] / "lib" / "package" / "guest")!r}]
sys.modules["_deploy"] = root
from _deploy import package, replica
records = {records_of(packages / "plain.pt")!r}
file = open({str(packages / "plain.pt")!r}, "rb")
handle = package.open(1, file.fileno(), "plain.pt", records)
counter = handle.load_pickle("model", "counter.pkl")
assert counter(2) == 7
data, fd, size, needed = replica.dump(counter)
assert (fd, size, needed) == (-1, 0, [1])
assert replica.load(data, fd, size)() == 8
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


# Names


def test_code_is_imported_under_its_own_names(load, packages):
    package = load(packages / "simple.pt")
    model = package.load_pickle("model", "model.pkl")
    module = sys.modules["simple_model"]
    assert not package.mangled
    assert type(model).__module__ == "simple_model" and module.SimpleModel is type(model)
    assert importlib.import_module("simple_model") is module
    assert module.__spec__.loader is package and module.__file__ == f"{packages}/simple.pt/simple_model.py"
    assert "class SimpleModel" in inspect.getsource(type(model))
    assert type(pickle.loads(pickle.dumps(model))) is type(model)
    assert torch.jit.script(model)(torch.ones(20, 1)).shape == (10, 1)


def test_two_packages_with_the_same_module_names_keep_apart(load, packages):
    first, second = load(packages / "version_a.pt"), load(packages / "version_b.pt")
    assert (first.mangled, second.mangled) == (False, True)
    models = [package.load_pickle("model", "model.pkl") for package in (first, second)]
    assert [model() for model in models] == ["a, helped by a", "b, helped by b"]
    assert type(models[1]).__module__ == f"{second.id()}.versioned"
    assert 'return "b" + suffix()' in inspect.getsource(type(models[1]))
    assert torch.package.is_from_package(models[1])
    assert second.import_module(type(models[1]).__module__) is sys.modules[type(models[1]).__module__]


def test_an_installed_module_is_not_shadowed(load, packages, tmp_path, monkeypatch):
    (tmp_path / "versioned.py").write_text("class Versioned: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    package = load(packages / "version_a.pt")
    assert package.load_pickle("model", "model.pkl")() == "a, helped by a"
    assert importlib.import_module("versioned").__file__ == str(tmp_path / "versioned.py")
    del sys.modules["versioned"]


def test_names_are_free_again_when_the_package_is_closed(guest, packages):
    def load_and_drop():
        file = os.open(packages / "version_a.pt", os.O_RDONLY)
        handle = guest.package.open(1, file, "a.pt", records_of(packages / "version_a.pt"))
        os.close(file)
        assert not handle.importer.mangled
        assert handle.load_pickle("model", "model.pkl")() == "a, helped by a"

    for _ in range(2):
        load_and_drop()
        gc.collect()
        assert "versioned" not in sys.modules and importlib.util.find_spec("versioned") is None


def test_resources_are_read_in_every_way_there_is(load, packages):
    for mangled in (False, True):
        package = load(packages / "resources.pt")
        assert package.mangled is mangled
        assert package.load_text("extra", "labels.txt") == "cat\n"
        reader = package.load_pickle("model", "model.pkl")
        assert reader.by_importer() == "cat\n"
        assert reader.by_old_resources() == b"one two\n"
        assert reader.names() == ["__init__.py", "reader.py", "words.txt"]
        assert pkgutil.get_data(type(reader).__module__.rpartition(".")[0], "words.txt") == b"one two\n"
        if not mangled:
            assert reader.by_resources() == "one two\n"
            assert importlib.resources.files("extra").joinpath("labels.txt").read_text() == "cat\n"


def test_a_traceback_shows_the_packages_source(load, packages):
    for _ in range(2):
        model = load(packages / "misbehaving.pt").load_pickle("model", "model.pkl")
        try:
            model("raise")
        except ValueError as error:
            text = "".join(traceback.format_exception(error))
        assert 'raise ValueError(f"cannot use {value!r}")' in text and "misbehaving.py" in text


def test_the_importer_tells_what_torch_packages_does(load, packages):
    package = load(packages / "simple.pt")
    assert package.python_version() == ".".join(str(part) for part in sys.version_info[:3])
    assert package.file_structure().has_file("simple_model.py")
    assert package.id().startswith("<torch_package_")
    assert package.load_binary("extra", "blob") == bytes(range(256))
    with pytest.raises(FileNotFoundError, match="no record 'extra/nothing'"):
        package.load_text("extra", "nothing")


# Externs


def test_all_missing_externs_are_found_at_once_and_nothing_is_imported(guest, packages):
    names = [
        "json",
        "os.path",
        "collections.abc",
        "absent_one",
        "transformers",
        "absent_two.deep",
        "xml.absent",
        "torch.fx._pytree",
    ]
    loaded = set(sys.modules)
    assert guest.package.missing_modules(names) == ["absent_one", "absent_two.deep", "xml.absent"]
    assert "transformers" not in set(sys.modules) - loaded


def test_a_module_that_its_parent_makes_at_run_time_is_no_missing_extern(guest):
    assert guest.package.missing_modules(["torch._C._nn", "six_absent.moves"]) == ["six_absent.moves"]


# Damage


def test_a_storage_of_another_size_than_its_pickle_says_is_refused(load, packages, guest, tmp_path):
    cut = rezip(packages / "simple.pt", tmp_path / "cut.pt", lambda name, data: data[:-4] if name == ".data/0.storage" else data)
    with pytest.raises(
        guest.archive.InvalidPackage,
        match=r"record '.data/0.storage' has 796 bytes, but its pickle says 200 elements of torch.float32",
    ):
        load(cut).load_pickle("model", "model.pkl")
    gone = rezip(packages / "simple.pt", tmp_path / "gone.pt", lambda name, data: None if name == ".data/0.storage" else data)
    with pytest.raises(guest.archive.InvalidPackage, match=r"no record '.data/0.storage', which one of its pickles refers to"):
        load(gone).load_pickle("model", "model.pkl")


def test_another_byte_order_is_refused(load, packages, guest, tmp_path):
    path = rezip(packages / "simple.pt", tmp_path / "big.pt", lambda name, data: b"big" if name == "byteorder" else data)
    with pytest.raises(guest.archive.InvalidPackage, match="byte order 'big'; expected 'little'"):
        load(path).load_pickle("model", "model.pkl")


def test_contradicting_modules_are_refused(guest, packages, tmp_path):
    path = tmp_path / "both.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in (".data/extern_modules", "thing.py", "thing/part.py"):
            archive.writestr(f"both/{name}", "")
    with pytest.raises(guest.archive.InvalidPackage, match="both a module 'thing.py' and a folder"), open(path, "rb") as file:
        guest.package.open(1, file.fileno(), "both.pt", records_of(path))


# Replicas


def replicate(guest, value):
    data, fd, size, _ = guest.replica.dump(value)
    try:
        return guest.replica.load(data, fd, size), guest.replica.load(data, fd, size)
    finally:
        if fd >= 0:
            os.close(fd)


def test_replicas_share_memory_until_one_writes(guest):
    weight = torch.arange(4096, dtype=torch.float32)
    value = {
        "whole": weight,
        "part": weight[10:20].view(2, 5),
        "text": "x",
        "none": torch.empty(0),
        "meta": torch.empty(3, device="meta"),
    }
    one, other = replicate(guest, value)
    assert torch.equal(one["whole"], weight) and one["meta"].device.type == "meta"
    assert one["part"].untyped_storage().data_ptr() == one["whole"].untyped_storage().data_ptr()
    assert one["whole"].data_ptr() % 64 == 0
    one["whole"][12] = -1
    assert one["part"][0, 2] == -1
    assert torch.equal(other["whole"], weight) and weight[12] == 12


def test_modules_of_packages_replicate_under_both_kinds_of_names(guest, load, packages):
    for mangled in (False, True):
        package = load(packages / "simple.pt")
        assert package.mangled is mangled
        model = package.load_pickle("model", "model.pkl")
        model.add_(1)
        one, _ = replicate(guest, model)
        assert type(one) is type(model) and one.first() == model.first()
        assert one.tied is one.weight


def test_arrays_replicate_with_their_memory(guest):
    numpy = pytest.importorskip("numpy")
    frozen = numpy.arange(5)
    frozen.flags.writeable = False
    one, other = replicate(guest, [numpy.arange(1000), frozen])
    one[0][0] = 7
    assert other[0][0] == 0 and not one[1].flags.writeable and one[1].tolist() == [0, 1, 2, 3, 4]


def test_what_cannot_be_pickled_says_so(guest):
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        guest.replica.dump(lambda: 1)
    with pytest.raises(TypeError, match="cannot pickle"):
        guest.replica.dump({"lock": __import__("threading").Lock()})
