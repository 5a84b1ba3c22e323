#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "bindings/exports.h"
#include "bindings/files.h"
#include "bindings/gil.h"
#include "bindings/text.h"
#include "deploy/package_reader.h"

// The records of package files: the one reader that there is, for Python code that only looks.

namespace deploy::bindings {

namespace {

constexpr const char* kReaderDoc =
    "A package file for whoever only looks: PackageReader(path). It is the reader that load_package() reads with, so both see the "
    "same records, or\n"
    "refuse the file with the same words. Starts no interpreter and runs no code of the package. Thread-safe. Raises Error: "
    "NOT_FOUND,\n"
    "INVALID_PACKAGE, SYSTEM.";

nb::bytes read(const PackageReader& self, std::string_view name, std::uint64_t begin, std::optional<std::uint64_t> size,
               std::optional<std::uint64_t> most) {
  const std::string data =
      without_gil([&] { return self.read(name, begin, size.value_or(PackageReader::kAll), most.value_or(PackageReader::kAll)); });
  return nb::bytes(data.data(), data.size());
}

void export_record(nb::module_& m) {
  nb::class_<PackageRecord>(m, "PackageRecord", "One record of a package file, without the archive's root folder in its name.")
      .def_ro("name", &PackageRecord::name)
      .def_ro("offset", &PackageRecord::offset, "Where its data begins in the file.")
      .def_ro("stored_size", &PackageRecord::stored_size, "How many bytes of the file it takes.")
      .def_ro("size", &PackageRecord::size, "How many bytes it has: stored_size, unless it is deflated.")
      .def_ro("deflated", &PackageRecord::deflated)
      .def_ro("checksum", &PackageRecord::checksum, "CRC-32 of its bytes.")
      .def("__repr__", [](const PackageRecord& self) {
        return nb::str("<deploy.PackageRecord {!r}, {} bytes at {}>").format(self.name, self.size, self.offset);
      });
}

}  // namespace

void export_reader(nb::module_& m) {
  export_record(m);
  nb::class_<PackageReader>(m, "PackageReader", kReaderDoc)
      .def(
          "__init__",
          [](PackageReader* self, nb::object path) {
            const std::string text = to_path(path);
            without_gil([&] { new (self) PackageReader(text); });
          },
          nb::arg("path"), nb::sig("def __init__(self, path: str | os.PathLike[str]) -> None"))
      .def_prop_ro(
          "path",
          [](const PackageReader& self) {
            return nb::steal(PyUnicode_DecodeFSDefaultAndSize(self.path().data(), static_cast<Py_ssize_t>(self.path().size())));
          },
          nb::sig("def path(self) -> str"))
      .def_prop_ro("root", &PackageReader::root, "The name of the archive's root folder.")
      .def_prop_ro(
          "comment", [](const PackageReader& self) { return nb::bytes(self.comment().data(), self.comment().size()); },
          "What the archive has at its end: the signature, or nothing.")
      .def_prop_ro(
          "manifest", [](const PackageReader& self) { return to_dict(self.manifest(), self.path()); },
          nb::sig("def manifest(self) -> dict[str, typing.Any] | None"),
          "What the package says of itself, as docs/format.md has it; None: it was written by plain torch.package.")
      .def_prop_ro("records", &PackageReader::records, "All records, in file order.")
      .def("find", &PackageReader::find, nb::arg("name"), "The record of that name, or None.")
      .def(
          "check", [](const PackageReader& self) { without_gil([&] { self.check(); }); },
          "Compares the checksums that load_package() compares: of all records, but those of weights above 64 MB. Raises Error "
          "with code INVALID_PACKAGE.")
      .def("read", &read, nb::arg("name"), nb::arg("begin") = 0, nb::arg("size") = nb::none(), nb::arg("most") = nb::none(),
           nb::sig("def read(self, name: str, begin: int = 0, size: int | None = None, most: int | None = None) -> bytes"),
           "Up to `size` bytes of a record from `begin` on. Its checksum is compared if all of it is asked for. A deflated record "
           "is "
           "inflated\nfrom its beginning at each call. Raises Error: NOT_FOUND; INVALID_PACKAGE where the record is damaged, or "
           "what was asked for is\nmore than `most` bytes.");
}

}  // namespace deploy::bindings
