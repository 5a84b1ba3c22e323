"""Writes the packages that the tests load, with torch.package: `write_packages.py FOLDER`.

None is committed. Run by CMake for the C++ tests, and imported by the Python ones.
"""

import importlib
import pathlib
import sys
import warnings
import zipfile

import torch
from torch.package import PackageExporter, package_exporter

_HERE = pathlib.Path(__file__).parent


def _modules(folder, *names):
    """Imports modules out of `folder` only, anew."""
    for name in list(sys.modules):
        if name.partition(".")[0] in names:
            del sys.modules[name]
    sys.path.insert(0, str(_HERE / folder))
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.pop(0)


def _write(path, intern, pickles, texts=(), extern=("torch.**", "numpy.**", "sys")):
    # The exporter looks sources up by module name, so the folders have to be importable while it runs.
    folders = [str(_HERE / name) for name in ("sources", "absent")]
    sys.path[:0] = folders
    try:
        with PackageExporter(path) as exporter:
            exporter.extern(list(extern))
            exporter.intern(list(intern))
            for package, resource, value in pickles:
                exporter.save_pickle(package, resource, value)
            for package, resource, data in texts:
                if isinstance(data, str):
                    exporter.save_text(package, resource, data)
                else:
                    exporter.save_binary(package, resource, data)
    finally:
        del sys.path[: len(folders)]


def _simple(folder):
    (simple_model,) = _modules("sources", "simple_model")
    torch.manual_seed(0)
    model = simple_model.SimpleModel(10, 20)
    inputs = torch.ones(20, 3)
    example = {"inputs": inputs, "outputs": model(inputs).detach()}
    _write(
        folder / "simple.pt",
        ["simple_model"],
        [("model", "model.pkl", model), ("model", "example.pkl", example)],
        [("extra", "labels.txt", "cat\ndög\n"), ("extra", "blob", bytes(range(256)))],
    )
    _write(folder / "fx.pt", ["simple_model"], [("model", "model.pkl", torch.fx.symbolic_trace(model))])

    package_exporter._gate_torchscript_serialization = False
    linear = torch.nn.Linear(4, 4)
    holder = simple_model.Holder(torch.jit.trace(linear, torch.ones(1, 4)))
    example = {"inputs": torch.ones(1, 4), "outputs": linear(torch.ones(1, 4)).detach()}
    _write(folder / "torchscript.pt", ["simple_model"], [("model", "model.pkl", holder), ("model", "example.pkl", example)])

    big = simple_model.SimpleModel(4096, 4096)  # 64 MiB
    _write(folder / "big.pt", ["simple_model"], [("model", "model.pkl", big)])


def _plain(folder):
    (plain_code,) = _modules("sources", "plain_code")
    pickles = [("model", "counter.pkl", plain_code.Counter(5)), ("model", "double.pkl", plain_code.double)]
    texts = [("extra", "labels.txt", "cat\ndög\n"), ("extra", "blob", bytes(range(256)))]
    _write(folder / "plain.pt", ["plain_code"], pickles)
    _write(folder / "plain_data.pt", ["plain_code"], pickles, texts)
    deflated = zipfile.ZipFile(folder / "deflated.pt", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(folder / "plain_data.pt") as stored, deflated:
        for name in stored.namelist():
            deflated.writestr(name, stored.read(name))
    (misbehaving,) = _modules("sources", "misbehaving")
    pickles = [("model", "model.pkl", misbehaving.Misbehaving()), ("model", "fails.pkl", misbehaving.FailsToUnpickle())]
    _write(folder / "misbehaving.pt", ["misbehaving"], pickles, [("model", "garbage.pkl", b"\x80\x04no pickle")])


def _resources(folder):
    with PackageExporter(folder / "resources.pt") as exporter:
        for name in ("resource_model", "resource_model.reader"):
            file = _HERE / "sources" / name.replace(".", "/")
            is_package = file.is_dir()
            source = (file / "__init__.py" if is_package else file.with_suffix(".py")).read_text()
            exporter.save_source_string(name, source, is_package=is_package, dependencies=False)
        exporter.save_text("resource_model", "words.txt", "one two\n")
        exporter.save_text("extra", "labels.txt", "cat\n")
        # Reader cannot be pickled here: its module can only be imported in the package.
        exporter.save_binary("model", "model.pkl", b"\x80\x03cresource_model\nReader\n)\x81.")


def _versions(folder):
    for version in "ab":
        versioned, _ = _modules(f"version_{version}", "versioned", "versioned_helper")
        _write(folder / f"version_{version}.pt", ["versioned", "versioned_helper"], [("model", "model.pkl", versioned.Versioned())])


def _absent(folder):
    modules = _modules("absent", "absent_one", "absent_two")
    sys.path.insert(0, str(_HERE / "absent"))
    (needs_absent,) = _modules("sources", "needs_absent")
    sys.path.remove(str(_HERE / "absent"))
    extern = ["absent_one", "absent_two.**"]
    _write(folder / "absent.pt", ["needs_absent"], [("model", "model.pkl", needs_absent.NeedsAbsent())], extern=extern)
    for module in modules:
        del sys.modules[module.__name__]
    del sys.modules["absent_two.deep"]


def write_all(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for write in (_simple, _plain, _resources, _versions, _absent):
            write(folder)
    return folder


if __name__ == "__main__":
    write_all(sys.argv[1])
