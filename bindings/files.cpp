#include "bindings/files.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "bindings/errors.h"
#include "bindings/exports.h"
#include "bindings/gil.h"
#include "bindings/text.h"
#include "deploy/error.h"
#include "deploy/signature.h"

// Package files without an interpreter: manifests and signatures.

namespace deploy::bindings {

std::vector<std::string> to_keys(nb::handle keys) {
  if (nb::isinstance<nb::str>(keys) || nb::isinstance<nb::bytes>(keys)) {
    throw Error(ErrorCode::kInvalidArgument, "trusted_keys: found one text, expected a list of key files or PEM texts");
  }
  return to_paths(keys, "trusted_keys");
}

nb::object to_dict(const Manifest* manifest, const std::string& path) {
  if (!manifest) return nb::none();
  try {
    return nb::module_::import_("json").attr("loads")(nb::bytes(manifest->json.data(), manifest->json.size()));
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_RecursionError) && !error.matches(PyExc_ValueError)) throw;
    throw Error(ErrorCode::kInvalidPackage, "the manifest of package '" + path + "' cannot be read by Python: " + describe(error));
  }
}

void export_files(nb::module_& m) {
  m.def(
      "read_manifest",
      [](nb::object path) {
        const std::string text = to_path(path);
        const std::optional<Manifest> manifest = without_gil([&] { return read_manifest(text); });
        return to_dict(manifest ? &*manifest : nullptr, text);
      },
      nb::arg("path"), nb::sig("def read_manifest(path: str | os.PathLike[str]) -> dict[str, typing.Any] | None"),
      "The manifest of a package file; None for one without (a plain torch.package). Starts no interpreter and runs no code. "
      "Raises "
      "Error: NOT_FOUND, INVALID_PACKAGE.");
  m.def(
      "sign_package",
      [](nb::object path, nb::object key) {
        const std::string file = to_path(path), text = to_path(key, "private_key");
        return without_gil([&] { return sign_package(file, text); });
      },
      nb::arg("path"), nb::arg("private_key"),
      nb::sig("def sign_package(path: str | os.PathLike[str], private_key: str | os.PathLike[str]) -> str"),
      "Signs the file in place, with a key as `openssl genpkey -algorithm ed25519` writes it (a file, or its text), in place of "
      "any "
      "signature it has.\nGives the key's name: its public part in base64. Raises Error: NOT_FOUND, INVALID_PACKAGE, "
      "INVALID_ARGUMENT (no such private key), SYSTEM.");
  m.def(
      "package_signer",
      [](nb::object path) {
        const std::string text = to_path(path);
        return without_gil([&] { return package_signer(text); });
      },
      nb::arg("path"), nb::sig("def package_signer(path: str | os.PathLike[str]) -> str | None"),
      "The name of the key that signed the file as it is now; None: it is not signed. That says nothing of whether the key is to "
      "be "
      "trusted.\nRaises Error with code UNTRUSTED where the signature does not hold.");
  m.def(
      "verify_package",
      [](nb::object path, nb::object keys) {
        const std::string text = to_path(path);
        const std::vector<std::string> trusted = to_keys(keys);
        return without_gil([&] { return verify_package(text, trusted); });
      },
      nb::arg("path"), nb::arg("trusted_keys"),
      nb::sig("def verify_package(path: str | os.PathLike[str], trusted_keys: collections.abc.Iterable[str | os.PathLike[str]]) -> "
              "str"),
      "The name of the one of `trusted_keys` that signed the file. Raises Error with code UNTRUSTED where none did. To load "
      "nothing "
      "else,\ngive them to load_package: that checks the very bytes that are then used.");
}

}  // namespace deploy::bindings
