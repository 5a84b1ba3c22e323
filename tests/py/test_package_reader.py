"""One reader of packages: what inspects, verifies or runs a file sees the records that load_package uses, or refuses the file with
the same words."""

import io
import pathlib
import struct
import zipfile

import manifest_packages
import pytest

import deploy
from deploy.package import inspect, run, verify

HARMLESS = b"\x80\x04\x8c\x08harmless."
OTHER = manifest_packages.pickled_global("os", "getpid")


def package_of(data, root="one"):
    """The bytes of a plain package with one pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(f"{root}/.data/extern_modules", "\n")
        archive.writestr(f"{root}/model/model.pkl", data)
    return stream.getvalue()


def shifted(data, by):
    """The same archive as it has to be `by` bytes further on in a file."""
    data = bytearray(data)
    end = data.rfind(b"PK\5\6")
    at = start = struct.unpack_from("<I", data, end + 16)[0]
    while data[at : at + 4] == b"PK\1\2":
        struct.pack_into("<I", data, at + 42, struct.unpack_from("<I", data, at + 42)[0] + by)
        at += 46 + sum(struct.unpack_from("<HHH", data, at + 28))
    struct.pack_into("<I", data, end + 16, start + by)
    return bytes(data)


def with_comment(data, comment):
    end = data.rfind(b"PK\5\6")
    return data[: end + 20] + struct.pack("<H", len(comment)) + comment


def in_front(first, last):
    """Bytes in front of the first record, which readers that search backwards step over."""
    return first + last


def second_end_in_comment(first, last):
    """The comment is an archive of its own: which end record counts depends on the reader."""
    return with_comment(first, shifted(last, len(first)))


def end_record_in_comment(first, last):
    """The comment holds the end record of a directory that lies in front of it."""
    both = first + shifted(last, len(first))
    end = both.rfind(b"PK\5\6")
    other = first[first.rfind(b"PK\5\6") :]
    return with_comment(both[:end] + both[end : end + 22], other)


def two_of_a_name(first, last):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("one/.data/extern_modules", "\n")
        archive.writestr("one/model/model.pkl", HARMLESS)
        archive.writestr("one/model/model.pkl", OTHER)
    return stream.getvalue()


def two_roots(first, last):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("one/.data/extern_modules", "\n")
        archive.writestr("one/model/model.pkl", HARMLESS)
        archive.writestr("two/model/model.pkl", OTHER)
    return stream.getvalue()


def another_name_in_the_header(first, last):
    at = first.find(b"one/model/model.pkl")
    return first[:at] + b"one/model/other.pkl" + first[at + 19 :]


def another_size_in_the_header(first, last):
    at = first.find(b"one/model/model.pkl") - 30
    return first[: at + 18] + struct.pack("<II", 3, 3) + first[at + 26 :]


def deflated_in_the_header_only(first, last):
    at = first.find(b"one/model/model.pkl") - 30
    return first[: at + 8] + struct.pack("<H", 8) + first[at + 10 :]


def bytes_behind(first, last):
    return first + b"\0" * 40


def no_folder(first, last):
    return first.replace(b"one/model/model.pkl", b"one_model_model.pkl")


AMBIGUOUS = [
    in_front,
    second_end_in_comment,
    end_record_in_comment,
    two_of_a_name,
    two_roots,
    another_name_in_the_header,
    another_size_in_the_header,
    deflated_in_the_header_only,
    bytes_behind,
    no_folder,
]


def answer(look):
    """What a look at a file gives, or the message of its error."""
    try:
        return look()
    except deploy.Error as error:
        assert error.code == deploy.ErrorCode.INVALID_PACKAGE, error
        return error.message


@pytest.mark.parametrize("make", AMBIGUOUS)
def test_all_see_the_same_records_or_refuse_the_file_with_the_same_words(make, bare, tmp_path):
    path = tmp_path / "one.pt"
    for first, last in ((HARMLESS, OTHER), (OTHER, HARMLESS)):
        path.write_bytes(make(package_of(first), package_of(last)))
        seen = answer(lambda: bare.load_package(path).records())
        assert answer(lambda: [record.name for record in deploy.PackageReader(path).records]) == seen
        assert answer(lambda: list(inspect(path).sizes)) == seen
        if isinstance(seen, str):
            for refused in (deploy.read_manifest, deploy.package_signer, verify, run):
                assert answer(lambda refused=refused: refused(path)) == seen
            continue
        data = bare.load_package(path).load_binary("model", "model.pkl")
        assert deploy.PackageReader(path).read("model/model.pkl") == data
        shown = str(inspect(path))
        assert ("os.getpid" in shown) == (data == OTHER)


def test_a_reader_tells_where_records_lie(tmp_path):
    records = {"a/b.txt": b"some text", "model/model.pkl": HARMLESS}
    path = manifest_packages.write(tmp_path / "name.pt", records, manifest=False, comment=b"a comment")
    reader = deploy.PackageReader(path)
    assert (reader.path, reader.root, reader.comment, reader.manifest) == (str(path), "name", b"a comment", None)
    with zipfile.ZipFile(path) as archive:
        assert [f"name/{record.name}" for record in reader.records] == archive.namelist()
        for record in reader.records:
            entry = archive.getinfo(f"name/{record.name}")
            assert (record.size, record.stored_size, record.checksum) == (entry.file_size, entry.compress_size, entry.CRC)
            data = path.read_bytes()[record.offset :][: record.size]
            assert not record.deflated and reader.read(record.name) == data == archive.read(entry)
    assert reader.find("a/b.txt").size == 9 and reader.find("a/c.txt") is None
    assert repr(reader.find("a/b.txt")).startswith("<deploy.PackageRecord 'a/b.txt', 9 bytes at ")
    reader.check()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_part_of_a_record_is_read(tmp_path, compression, raises):
    data = bytes(range(256)) * 40
    path = manifest_packages.write(tmp_path / "a.pt", {"a/data": data}, manifest=False, compression=compression)
    reader = deploy.PackageReader(path)
    assert reader.find("a/data").deflated == (compression == zipfile.ZIP_DEFLATED)
    assert reader.read("a/data", 100, 300) == data[100:400]
    assert reader.read("a/data", 10_000) == data[10_000:]
    assert reader.read("a/data", 1 << 60, 1 << 60) == reader.read("a/data", 5, 0) == b""
    assert reader.read("a/data", most=len(data)) == data
    with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
        reader.read("a/data", most=100)
    assert "has a record 'a/data' of 10240 bytes; expected at most 100" in caught.value.message
    with raises(deploy.ErrorCode.NOT_FOUND) as caught:
        reader.read("a/other")
    assert "has no record 'a/other'; it has: a/data" in caught.value.message


def test_a_record_with_another_checksum_is_refused_by_all(bare, tmp_path, raises):
    path = manifest_packages.write(tmp_path / "a.pt", {"model/model.pkl": HARMLESS}, manifest=False)
    path.write_bytes(path.read_bytes().replace(b"harmless", b"harmfull"))
    says = "is damaged: record 'model/model.pkl' does not have the checksum that the file says (CRC-32)"
    reader = deploy.PackageReader(path)
    for look in (bare.load_package, inspect, lambda _: reader.check(), lambda _: reader.read("model/model.pkl")):
        with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
            look(path)
        assert says in caught.value.message


def test_what_is_no_file_is_refused_alike(bare, tmp_path):
    for path, code in ((tmp_path / "none.pt", deploy.ErrorCode.NOT_FOUND), (tmp_path, deploy.ErrorCode.INVALID_PACKAGE)):
        messages = set()
        for look in (deploy.PackageReader, inspect, deploy.read_manifest, bare.load_package, run, verify):
            with pytest.raises(deploy.Error) as caught:
                look(path)
            assert caught.value.code == code
            messages.add(caught.value.message)
        assert len(messages) == 1, messages


def test_a_reader_keeps_the_file_that_it_opened(tmp_path):
    path = pathlib.Path(manifest_packages.write(tmp_path / "a.pt", {"model/model.pkl": HARMLESS}, manifest=False))
    reader = deploy.PackageReader(path)
    path.unlink()
    assert reader.read("model/model.pkl") == HARMLESS


def test_a_manifest_that_python_cannot_read_is_refused(bare, tmp_path, raises):
    deep = "[" * 100_000 + "]" * 100_000
    path = manifest_packages.write(tmp_path / "a.pt", {"model/model.pkl": HARMLESS})
    text = deploy.PackageReader(path).read(".data/deploy/manifest.json").decode()
    records = {".data/extern_modules": b"\n", "model/model.pkl": HARMLESS}
    records[".data/deploy/manifest.json"] = (text[:-1] + f', "more": {deep}' + "}").encode()
    manifest_packages.write(path, records, manifest=False)
    for look in (deploy.read_manifest, inspect, run, verify, lambda path: bare.load_package(path).manifest):
        with raises(deploy.ErrorCode.INVALID_PACKAGE) as caught:
            look(path)
        assert f"the manifest of package '{path}' cannot be read by Python: RecursionError" in caught.value.message
