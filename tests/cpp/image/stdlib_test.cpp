#include <gtest/gtest.h>

#include "tests/cpp/image/booted_guest.h"

namespace deploy::test {
namespace {

class Stdlib : public testing::Test {
 protected:
  BootedGuest guest_;
};

TEST_F(Stdlib, Imports) {
  EXPECT_EQ(guest_.exec(R"(
import argparse, asyncio, concurrent.futures, contextvars, csv, dataclasses, datetime, decimal, email, enum, fractions, gzip
import hashlib, html, http.client, importlib.metadata, importlib.resources, inspect, json, logging.config, multiprocessing
import pathlib, pickle, platform, pydoc, queue, random, runpy, secrets, shutil, site, socket, statistics, string, subprocess
import sysconfig, tarfile, tempfile, tokenize, tomllib, typing, unittest.mock, urllib.request, uuid, warnings, xml.etree.ElementTree
import zipfile, zoneinfo
)"),
            "");
}

TEST_F(Stdlib, ExtensionModulesComeOutOfTheImage) {
  EXPECT_EQ(guest_.exec(R"(
import sys, _asyncio, _bz2, _ctypes, _decimal, _hashlib, _json, _lzma, _multiprocessing, _queue, _sqlite3, _ssl, mmap, termios
for module in (_asyncio, _bz2, _ctypes, _decimal, _hashlib, _json, _lzma, _multiprocessing, _queue, _sqlite3, _ssl, mmap, termios):
    if module.__name__ not in sys.builtin_module_names:
        assert module.__file__.startswith("<image>/lib-dynload/"), module.__file__
        assert module.__spec__.origin == module.__file__
)"),
            "");
}

TEST_F(Stdlib, ExtensionModulesWork) {
  EXPECT_EQ(guest_.exec(R"(
import ctypes, decimal, hashlib, json, lzma, sqlite3, ssl, zlib
assert ctypes.CDLL(None).abs(-3) == 3
assert decimal.Decimal("0.1") + decimal.Decimal("0.2") == decimal.Decimal("0.3")
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c442")
assert json.loads('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
assert lzma.decompress(lzma.compress(b"x" * 1000)) == b"x" * 1000
assert zlib.decompress(zlib.compress(b"x" * 1000)) == b"x" * 1000
assert sqlite3.connect(":memory:").execute("select 1 + 1").fetchone() == (2,)
assert ssl.create_default_context().verify_mode == ssl.CERT_REQUIRED
)"),
            "");
}

TEST_F(Stdlib, ModulesHaveAFileAndAPathInTheImage) {
  EXPECT_EQ(guest_.exec(R"(
import sys, json, json.decoder, encodings, codecs, os
from importlib.util import cache_from_source
stdlib = f"<image>/python{sys.version_info.major}.{sys.version_info.minor}"
assert json.__file__ == stdlib + "/json/__init__.py"
assert json.__path__ == [stdlib + "/json"]
assert json.decoder.__file__ == stdlib + "/json/decoder.py"
assert encodings.__path__ == [stdlib + "/encodings"]
assert codecs.__file__ == stdlib + "/codecs.py"
for module in (json, json.decoder, encodings, codecs, os):
    assert module.__cached__ == module.__spec__.cached == cache_from_source(module.__file__), module
    assert module.__loader__ is module.__spec__.loader
assert sys._stdlib_dir == stdlib
)"),
            "");
}

TEST_F(Stdlib, LoadersAreThoseOfSourceFiles) {
  EXPECT_EQ(guest_.exec(R"(
import importlib.abc, importlib.machinery, inspect, json.decoder, os
loader = json.decoder.__loader__
assert isinstance(loader, importlib.machinery.SourceFileLoader) and isinstance(loader, importlib.abc.InspectLoader)
assert (loader.name, loader.path) == ("json.decoder", json.decoder.__file__)
assert loader.get_filename() == loader.get_filename("json.decoder") == loader.path
assert json.__loader__.is_package("json") and not loader.is_package("json.decoder")
assert loader.get_source("json.decoder") == inspect.getsource(json.decoder)
assert loader.path_stats(loader.path)["size"] == len(loader.get_data(loader.path)) == os.path.getsize(loader.path)
assert loader.get_code("json.decoder").co_filename == loader.path
try:
    loader.get_code("json.encoder")
except ImportError as error:
    assert str(error) == "loader for json.decoder cannot handle json.encoder", error
else:
    assert False
)"),
            "");
}

TEST_F(Stdlib, ASecondImportlibSetsItselfUp) {
  EXPECT_EQ(guest_.exec(R"(
import _imp, importlib, importlib._bootstrap, os, sys
names = ("_frozen_importlib", "_frozen_importlib_external", "importlib", "importlib._bootstrap", "importlib._bootstrap_external")
kept = {name: sys.modules.pop(name) for name in names if name in sys.modules}
sys.modules["_frozen_importlib"] = sys.modules["_frozen_importlib_external"] = None
try:
    import importlib as second
    assert second is not kept["importlib"] and second._bootstrap is not kept["_frozen_importlib"]
    assert second.import_module("colorsys").rgb_to_hsv(1, 0, 0) == (0.0, 1.0, 1)
finally:
    sys.modules.update(kept)
assert importlib.reload(os) is os and not _imp.is_frozen("os") and not _imp.is_frozen("encodings")
assert _imp.is_frozen("_frozen_importlib") and not _imp.is_frozen("no_such_module")
)"),
            "");
}

TEST_F(Stdlib, TracebacksShowItsSource) {
  const std::string traceback = guest_.exec("import json\njson.loads('{')");
  EXPECT_NE(traceback.find("/json/decoder.py\", line"), std::string::npos) << traceback;
  EXPECT_NE(traceback.find("raw_decode(s, idx"), std::string::npos) << traceback;
}

TEST_F(Stdlib, InspectGetsItsSource) {
  EXPECT_EQ(guest_.exec(R"(
import inspect, json, os
assert inspect.getsource(json.loads).startswith("def loads(")
assert inspect.getsource(os).startswith('r"""OS routines')
)"),
            "");
}

TEST_F(Stdlib, PkgutilWalksItsPackages) {
  EXPECT_EQ(guest_.exec(R"(
import json, pkgutil, sys, xml
assert [m.name for m in pkgutil.iter_modules(json.__path__)] == ["decoder", "encoder", "scanner", "tool"]
names = {m.name: m.ispkg for m in pkgutil.walk_packages(xml.__path__, "xml.")}
assert names["xml.etree"] and not names["xml.etree.ElementTree"], names
from importlib.machinery import PathFinder
assert PathFinder.find_spec("json.decoder", json.__path__).loader == json.decoder.__loader__
assert PathFinder.find_spec("json.nothing", json.__path__) is None
)"),
            "");
}

TEST_F(Stdlib, ResourcesAreReadable) {
  EXPECT_EQ(guest_.exec(R"(
import importlib.resources, os, pkgutil
folder = importlib.resources.files("email")
assert folder.is_dir() and folder.joinpath("mime").is_dir() and not folder.joinpath("nothing").is_file()
file = folder / "message.py"
assert file.is_file() and file.name == "message.py"
assert file.read_bytes() == pkgutil.get_data("email", "message.py")
with file.open() as stream:
    assert stream.read() == file.read_text()
with importlib.resources.as_file(file) as path:
    assert os.path.getsize(path) == len(file.read_bytes())
assert {child.name for child in folder.iterdir()} > {"message.py", "mime"}
try:
    (folder / "nothing").read_bytes()
except FileNotFoundError as error:
    assert "<image>" in error.filename
else:
    assert False
)"),
            "");
}

TEST_F(Stdlib, AbsentModulesAreModuleNotFound) {
  EXPECT_EQ(guest_.exec(R"(
for name in ("no_such_module", "json.no_such_module", "tkinter"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        assert error.name == name
    else:
        assert False, name
)"),
            "");
}

TEST_F(Stdlib, EveryCodecImports) {
  EXPECT_EQ(guest_.exec(R"(
import encodings, importlib, pkgutil
assert "é".encode("cp1252") == b"\xe9" and "ü.de".encode("idna") == b"xn--tda.de" and "字".encode("gb18030")
for module in pkgutil.iter_modules(encodings.__path__):
    if module.name not in ("mbcs", "oem"):  # of Windows
        importlib.import_module("encodings." + module.name)
)"),
            "");
}

TEST_F(Stdlib, SysconfigDescribesTheEmbeddedPython) {
  EXPECT_EQ(guest_.exec(R"(
import importlib.machinery, sysconfig
assert sysconfig.get_config_var("EXT_SUFFIX") in importlib.machinery.EXTENSION_SUFFIXES
assert sysconfig.get_python_version() == "%d.%d" % __import__("sys").version_info[:2]
)"),
            "");
}

}  // namespace
}  // namespace deploy::test
