"""Package files that honest tools wrote, and such that mean one thing to one reader and another to the next."""

import io
import threading
import zipfile

import manifest_packages
import pytest
from library_packages import load_model, write

import deploy


def test_a_package_that_zipfile_added_to_is_read(bare, tmp_path):
    path = manifest_packages.write(tmp_path / "a.pt", {"own.py": b"x = 1\n"}, manifest=False)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/more/notes.txt", "added")
        archive.writestr("a/folder/", "")
        with archive.open("a/more/wide.txt", "w", force_zip64=True) as file:
            file.write(b"wide")
        archive.comment = b"by hand"
    package = bare.load_package(path)
    assert package.load_text("more", "notes.txt") == "added" and package.load_text("more", "wide.txt") == "wide"


class Stream(io.BytesIO):
    """As a pipe: what is written cannot be changed, so that sizes come behind each record."""

    def seekable(self):
        return False

    def seek(self, *args):
        raise io.UnsupportedOperation("seek")

    def tell(self):
        raise io.UnsupportedOperation("tell")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_package_that_was_written_to_a_stream_is_read(bare, tmp_path, compression):
    stream = Stream()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("a/.data/extern_modules", "\n")
        archive.writestr("a/texts/a.txt", "text " * 100)
        with archive.open("a/texts/b.txt", "w", force_zip64=True) as file:
            file.write(b"wide")
    (tmp_path / "a.pt").write_bytes(stream.getvalue())
    package = bare.load_package(tmp_path / "a.pt")
    assert package.load_text("texts", "a.txt") == "text " * 100 and package.load_text("texts", "b.txt") == "wide"


def hidden(harmless, evil):
    """Files that show the records of one file to some readers and those of the other to others."""
    with zipfile.ZipFile(io.BytesIO(harmless)) as archive:
        start = archive.start_dir
    yield "evil in front", evil + harmless
    yield "evil in the comment", harmless[:-2] + len(evil).to_bytes(2, "little") + evil
    yield "evil in front of the directory", harmless[:start] + evil + harmless[start:]
    yield "evil behind the directory", harmless[:-22] + evil + harmless[-22:]


def test_files_that_show_other_records_to_other_readers_are_refused(bare, tmp_path, raises):
    harmless = manifest_packages.write(tmp_path / "a.pt", {"own.py": b"x = 1\n"}, manifest=False).read_bytes()
    evil = manifest_packages.write(tmp_path / "b.pt", {"own.py": b"x = 2\n"}, manifest=False, root="a").read_bytes()
    for what, content in hidden(harmless, evil):
        (tmp_path / "c.pt").write_bytes(content)
        with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
            bare.load_package(tmp_path / "c.pt")
        assert "in no record" in caught.value.message or "more than one zip end record" in caught.value.message, what


def test_a_package_that_is_copied_over_while_it_loads_gives_an_error_or_works(bare, tmp_path):
    """`cp new.pt model.pt` truncates the file and writes it again in place."""
    texts = {f"texts/{i}.txt": "x" * 3000 for i in range(300)}
    contents = [write(tmp_path / "a.pt", records=texts).read_bytes(), write(tmp_path / "b.pt").read_bytes()]
    path = tmp_path / "model.pt"
    path.write_bytes(contents[0])
    stop = threading.Event()

    def rewrite():
        while not stop.is_set():
            for content in contents:
                path.write_bytes(content)

    writer = threading.Thread(target=rewrite)
    writer.start()
    outcomes = set()
    try:
        for _ in range(60):
            try:
                bare.load_package(path)
                outcomes.add("loaded")
            except deploy.Error as error:
                outcomes.add(error.code)
    finally:
        stop.set()
        writer.join()
    assert deploy.ErrorCode.INVALID_PACKAGE in outcomes
    assert outcomes <= {"loaded", deploy.ErrorCode.INVALID_PACKAGE}
    assert load_model(bare, path)(4) == 8


# What the environment has is found out without running any of it.


@pytest.fixture
def noisy(tmp_path):
    """A folder with packages that say when they are imported; (folder, the file in which they say so)."""
    marker = tmp_path / "imported"
    tell = f"open({str(marker)!r}, 'a').write(__name__ + ' ')\n"
    made = "import sys, types\nsys.modules[__name__ + '.made'] = made = types.ModuleType('made')\n"
    files = {"noisy/__init__.py": tell + made, "noisy/sub.py": tell, "single.py": tell + made, "space/inner.py": tell}
    for name, text in files.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text)
    return tmp_path / "site", marker


@pytest.mark.parametrize("manifest", [True, False])
def test_missing_modules_are_found_without_importing_any(make_manager, tmp_path, raises, noisy, manifest):
    folder, marker = noisy
    there = ["noisy", "noisy.sub", "noisy.made", "single.made", "space.inner", "os.path", "json.decoder"]
    absent = ["noisy.absent", "space.absent", "json.absent", "nowhere.at.all"]
    options = {} if manifest else {"manifest": False}
    manager = make_manager(extra_paths=[folder])
    externs = [(name, None, None) for name in there]
    manager.load_package(manifest_packages.write(tmp_path / "a.pt", {"own.py": b""}, externs=externs, **options))
    externs += [(name, None, None) for name in absent]
    with raises(deploy.ErrorCode.MISSING_EXTERN) as caught:
        manager.load_package(manifest_packages.write(tmp_path / "b.pt", {"own.py": b""}, externs=externs, **options))
    assert f"needs 4 modules that the environment does not have: {', '.join(absent)};" in caught.value.message
    assert not marker.exists()


def test_a_module_that_is_not_allowed_is_not_imported_to_say_so(make_manager, tmp_path, raises, noisy):
    folder, marker = noisy
    externs = [(name, None, None) for name in ("noisy.made", "single.made", "noisy.sub")]
    manager = make_manager(extra_paths=[folder], allowed_externs=["!noisy", "!single"])
    with raises(deploy.ErrorCode.UNTRUSTED) as caught:
        manager.load_package(manifest_packages.write(tmp_path / "a.pt", {"own.py": b""}, externs=externs))
    assert "allowed_externs leave out: noisy.made, single.made, noisy.sub" in caught.value.message
    assert not marker.exists()


@pytest.mark.parametrize("name", ["a b", "a\x0cb", "a\x85b", "a\u2028b", "x" * 1025, "a\0b"])
def test_a_name_that_no_module_has_is_refused(bare, tmp_path, raises, name):
    path = manifest_packages.write(tmp_path / "a.pt", {"own.py": b""}, externs=[(name, None, None)], manifest=False)
    with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
        bare.load_package(path)
    assert "'.data/extern_modules' with a line of" in caught.value.message and len(caught.value.message) < 1000


def test_a_list_of_missing_modules_is_cut_off(bare, tmp_path, raises):
    externs = [(f"absent_{i}", None, None) for i in range(3000)]
    with raises(deploy.ErrorCode.MISSING_EXTERN) as caught:
        bare.load_package(manifest_packages.write(tmp_path / "a.pt", {"own.py": b""}, externs=externs, manifest=False))
    assert "needs 3000 modules" in caught.value.message and "absent_99 and 2900 more;" in caught.value.message


# Names and numbers that are too large, and paths that are none.


def test_a_version_of_many_digits_is_refused(make_manager, tmp_path, raises):
    digits = "9" * 5000
    for manifest in ({"python": digits}, {"externs": [{"module": "json", "distribution": "json", "version": digits}]}):
        with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
            make_manager().load_package(write(tmp_path / "a.pt", manifest=manifest))
        assert "is not a text of at most 200 bytes; it has 5000" in caught.value.message
    (tmp_path / "site" / "odd-1.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "odd-1.dist-info" / "METADATA").write_text(f"Name: odd\nVersion: {digits}\n")
    (tmp_path / "site" / "odd.py").write_text("")
    manager = make_manager(extra_paths=[tmp_path / "site"])
    path = write(tmp_path / "b.pt", externs=[("odd", "odd", "1.0")])
    assert load_model(manager, path)(1) == 2  # no number that could be compared


def test_a_python_of_the_far_future_is_named(bare, tmp_path, raises):
    for version in ("3.99999999999999999999", "99999999999999999999.1", "nonsense", "3"):
        assert load_model(bare, write(tmp_path / "a.pt", manifest={"python": version}))(1) == 2
    with raises(deploy.ErrorCode.MISSING_EXTERN) as caught:
        bare.load_package(write(tmp_path / "b.pt", manifest={"python": "3.99"}))
    assert "it was written with Python 3.99" in caught.value.message or "was written with Python 3.99" in caught.value.message


def test_a_nul_in_a_path_is_refused(bare, tmp_path, raises):
    path = write(tmp_path / "a.pt")
    package = bare.load_package(path)
    # As open() does.
    for use in (
        lambda: bare.load_package("a\0b"),
        lambda: bare.load_package(path, trusted_keys=["a\0b"]),
        lambda: deploy.InterpreterManager(1, deploy.Environment(site_packages=["a\0b"])),
        lambda: deploy.InterpreterManager(1, deploy.Environment(cache_dir="a\0b")),
    ):
        with pytest.raises(ValueError, match="embedded null byte"):
            use()
    for text, use in {
        "package 'a\\x00b' has a NUL character": lambda: package.load_text("a\0b", "x"),
        "resource 'a\\x00b' has a NUL character": lambda: package.load_pickle("model", "a\0b"),
    }.items():
        with raises(deploy.ErrorCode.INVALID_ARGUMENT) as caught:
            use()
        assert text in caught.value.message
    assert load_model(bare, path)(1) == 2
