// A host program as a stranger's: it runs where there is no Python (run_in_chroot.py), on the packages of the folder
// /site-packages.

#include <cstdio>
#include <exception>

#include "deploy/interpreter.h"

namespace {

constexpr const char* kCheck = R"(
import os, sys

# A machine without Python: were there one, the rest would prove nothing.
for folder, folders, files in os.walk("/"):
    if folder.startswith("/site-packages"):
        continue
    for name in files:
        assert not name.startswith(("python", "libpython")) and not name.endswith((".py", ".pyc")), (folder, name)

import asyncio, ctypes, decimal, hashlib, json, lzma, sqlite3, ssl

assert json.loads(json.dumps({"a": [1, 2.5]})) == {"a": [1, 2.5]}
assert ssl.create_default_context().verify_mode == ssl.CERT_REQUIRED
assert sqlite3.connect(":memory:").execute("select 6 * 7").fetchone() == (42,)
assert ctypes.CDLL(None).abs(-3) == 3
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c442")
assert lzma.decompress(lzma.compress(b"x" * 1000)) == b"x" * 1000
assert decimal.Decimal("0.1") * 3 == decimal.Decimal("0.3")
assert asyncio.run(asyncio.wait_for(asyncio.sleep(0, "slept"), 5)) == "slept"
for module in (sys.modules["_ssl"], sys.modules["_sqlite3"], sys.modules["_ctypes"]):
    assert module.__file__.startswith("<image>/"), module


def import_error(name):
    try:
        __import__(name)
    except ImportError as error:
        return str(error)
    return "none"
)";

int check() {
  deploy::Interpreter interpreter({.site_packages = {"/site-packages"}});
  interpreter.register_module("check", kCheck);
  auto session = interpreter.acquire_session();
  session.import_module("check");
  std::printf("readline: %s\n", session.global("check", "import_error")("readline").to_value().as_str().c_str());
  const deploy::Object model = session.global("model", "Model")(3);
  std::printf("model: %s\n", session.global("builtins", "str")(model(deploy::Value::list({1, 2}))).to_value().as_str().c_str());
  return 0;
}

}  // namespace

int main() {
  try {
    return check();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
