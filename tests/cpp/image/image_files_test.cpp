#include <gtest/gtest.h>

#include "tests/cpp/image/booted_guest.h"

namespace deploy::test {
namespace {

// Files of the standard library by their paths.
class ImageFiles : public testing::Test {
 protected:
  BootedGuest guest_;
};

TEST_F(ImageFiles, OpenAsTheFilesThatTheyAre) {
  EXPECT_EQ(guest_.exec(R"(
import io, json, linecache, mmap, os, pathlib, tokenize
path = json.__file__
source = json.__loader__.get_source("json")
with open(path) as file:
    assert file.read() == source and file.name == path
    assert isinstance(file.buffer.raw, io.FileIO) and os.fstat(file.fileno()).st_size == len(source.encode())
with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
    assert bytes(mapped) == source.encode()
with tokenize.open(path) as file:
    assert file.encoding == "utf-8" and file.readline() == source.splitlines(True)[0]
assert pathlib.Path(path).read_text() == source == "".join(linecache.getlines(path))
descriptor = os.open(path, os.O_RDONLY)
assert os.read(descriptor, 3) == source[:3].encode() and not os.get_inheritable(descriptor)
os.close(descriptor)
)"),
            "");
}

TEST_F(ImageFiles, AreFoundThroughAbsoluteAndRelativePaths) {
  EXPECT_EQ(guest_.exec(R"(
import json, os, tempfile
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    try:
        for path in (os.path.abspath(json.__file__), os.path.realpath(json.__file__), os.path.join(json.__path__[0], "..", "json", ".", "__init__.py")):
            assert open(path).read() == json.__loader__.get_source("json"), path
        assert not os.path.exists("<image>/../etc/passwd") and not os.path.exists("image>/python") and os.listdir() == []
    finally:
        os.chdir("/")
)"),
            "");
}

TEST_F(ImageFiles, AreDescribedAndListed) {
  EXPECT_EQ(guest_.exec(R"(
import glob, json, os, pathlib, shutil, stat, sys, tempfile
stdlib = os.path.dirname(os.__file__)
assert stdlib == f"<image>/python3.{sys.version_info.minor}"
assert os.path.isfile(json.__file__) and not os.path.isdir(json.__file__) and os.path.isdir(json.__path__[0])
assert stat.filemode(os.stat(json.__file__).st_mode) == "-r--r--r--" and os.lstat(stdlib).st_mode & stat.S_IFDIR
assert os.access(json.__file__, os.R_OK) and not os.access(json.__file__, os.W_OK) and not os.access(stdlib + "/nothing", os.F_OK)
assert sorted(os.listdir(json.__path__[0])) == ["__init__.py", "decoder.py", "encoder.py", "scanner.py", "tool.py"]
assert os.listdir("<image>") == [os.path.basename(stdlib)]
entries = {entry.name: entry.is_dir() for entry in os.scandir(stdlib)}
assert entries["json"] and not entries["os.py"] and "lib-dynload" not in entries and len(entries) == len(os.listdir(stdlib)) > 190
walked = {os.path.join(root, name) for root, _, names in os.walk(stdlib + "/xml") for name in names}
assert stdlib + "/xml/etree/ElementTree.py" in walked
assert glob.glob(stdlib + "/json/*coder.py") == [stdlib + "/json/decoder.py", stdlib + "/json/encoder.py"]
assert [path.name for path in sorted(pathlib.Path(stdlib).glob("json/s*.py"))] == ["scanner.py"]
with tempfile.TemporaryDirectory() as folder:
    shutil.copytree(stdlib + "/json", folder + "/copy")
    assert sorted(os.listdir(folder + "/copy")) == sorted(os.listdir(json.__path__[0]))
)"),
            "");
}

TEST_F(ImageFiles, CannotBeChanged) {
  EXPECT_EQ(guest_.exec(R"(
import errno, json, os
def error_of(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
stdlib = os.path.dirname(os.__file__)
assert error_of(open, json.__file__, "w") == error_of(open, json.__file__, "r+") == error_of(open, stdlib + "/new.py", "x") == errno.EROFS
assert error_of(open, stdlib + "/nothing.py") == errno.ENOENT and error_of(os.listdir, stdlib + "/nothing") == errno.ENOENT
assert error_of(os.listdir, json.__file__) == errno.ENOTDIR and error_of(os.stat, json.__file__ + "/x") == errno.ENOENT
descriptor = os.open(json.__file__, os.O_RDONLY)
assert error_of(os.write, descriptor, b"x") == errno.EPERM
os.close(descriptor)
)"),
            "");
}

TEST_F(ImageFiles, AreTheDataOfTheStandardLibrary) {
  EXPECT_EQ(guest_.exec(R"(
import importlib.util, os, threading, urllib.request
from xmlrpc.server import DocXMLRPCServer
with DocXMLRPCServer(("127.0.0.1", 0), logRequests=False) as server:
    def get(path):
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        answer = urllib.request.urlopen(f"http://127.0.0.1:{server.server_address[1]}{path}").read()
        thread.join()
        return answer
    assert b"XML-RPC Server Documentation" in get("/") and b"CSS file for pydoc" in get("/pydoc.css")
import pydoc, pydoc_data.topics, venv
assert open(os.path.join(os.path.dirname(os.path.realpath(pydoc.__file__)), "pydoc_data/_pydoc.css")).read()
assert "JSON" in pydoc.plain(pydoc.render_doc("json"))
assert "activate" in os.listdir(os.path.join(os.path.dirname(venv.__file__), "scripts", "common"))
if importlib.util.find_spec("lib2to3"):
    import warnings
    warnings.simplefilter("ignore")
    import lib2to3, lib2to3.pygram
    assert "file_input" in open(os.path.join(os.path.dirname(lib2to3.__file__), "Grammar.txt")).read()
)"),
            "");
}

TEST_F(ImageFiles, LeaveAllOtherPathsAlone) {
  EXPECT_EQ(guest_.exec(R"(
import os, tempfile
with tempfile.TemporaryDirectory() as folder:
    for name in ("<image>.txt", "a<image>", "<image"):
        with open(f"{folder}/{name}", "w") as file:
            file.write(name)
        assert open(f"{folder}/{name}").read() == name and os.path.getsize(f"{folder}/{name}") == len(name)
    assert sorted(os.listdir(folder)) == ["<image", "<image>.txt", "a<image>"]
    descriptor = os.open(f"{folder}/made", os.O_CREAT | os.O_WRONLY, 0o640)
    os.close(descriptor)
    assert os.stat(f"{folder}/made").st_mode & 0o777 == 0o640
)"),
            "");
}

}  // namespace
}  // namespace deploy::test
