// The archive of the standard library (image/assemble_archive.py has its layout), read in place out of libdeploy's own pages: all
// interpreters of all processes share one copy of the byte code as it is on disk. What Python sees of it is the builtin module
// _deploy_image, over which python/finder.py is written.
//
// A few modules are imported by CPython's start itself, before any finder can exist: the package encodings. They are given to it as
// frozen modules, which are (name, marshalled code) pairs too, so their code stays in the archive like all the rest.
//
// The frozen module `site` is not the standard library's: CPython imports `site` as the last step of a sub-interpreter's start, and
// gets python/subinterpreter.py, which puts the finder in place there. The interpreter itself starts without `site`, and has the
// finder in front of frozen modules.

#include <cstring>
#include <string>
#include <vector>

#include "lib/interpreter/guest/archive.h"
// clang-format off
#include <marshal.h>  // needs Python.h, which guest.h includes
// clang-format on

namespace deploy::guest {
namespace {

struct Header {
  char magic[8];
  uint32_t count, reserved;
};

struct Entry {
  uint32_t path_offset, path_size;
  uint32_t content_offset, content_size, content_real_size;
  uint32_t code_offset, code_size, reserved;
};

// Written once by install_stdlib.
std::string_view archive;
const Entry* entries = nullptr;
Py_ssize_t count = 0;

// What boot was given, for sub-interpreters. Written once by run_startup.
std::string* dynload = nullptr;
std::vector<std::string>* boot_paths = nullptr;
size_t first_site = 0;

constexpr std::string_view kLibraries = "lib-dynload/";

std::string_view piece(uint32_t offset, uint32_t size) { return archive.substr(offset, size); }
std::string_view path_of(Py_ssize_t index) { return piece(entries[index].path_offset, entries[index].path_size); }

// The first entry whose path is not less than `path`.
Py_ssize_t lower_bound(std::string_view path) {
  Py_ssize_t low = 0, high = count;
  while (low < high) {
    const Py_ssize_t middle = low + (high - low) / 2;
    if (path_of(middle) < path)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

Py_ssize_t find(std::string_view path) {
  const Py_ssize_t index = lower_bound(path);
  return index < count && path_of(index) == path ? index : -1;
}

bool fits(uint32_t offset, uint32_t size) { return offset <= archive.size() && size <= archive.size() - offset; }

const char* open_archive(std::string_view bytes) {
  Header header;
  if (bytes.size() < sizeof header) return "truncated";
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, "DPLYSTD1", sizeof header.magic) != 0) return "not an archive of this version";
  if (header.count > (bytes.size() - sizeof header) / sizeof(Entry)) return "truncated";
  archive = bytes;
  entries = reinterpret_cast<const Entry*>(bytes.data() + sizeof header);
  count = static_cast<Py_ssize_t>(header.count);
  for (Py_ssize_t i = 0; i < count; ++i) {
    const Entry& entry = entries[i];
    if (!fits(entry.path_offset, entry.path_size) || !fits(entry.content_offset, entry.content_size) ||
        !fits(entry.code_offset, entry.code_size)) {
      return "an entry lies outside";
    }
  }
  return nullptr;
}

PyObject* code_at(Py_ssize_t index) {
  const std::string_view code = piece(entries[index].code_offset, entries[index].code_size);
  return PyMarshal_ReadObjectFromString(code.data(), static_cast<Py_ssize_t>(code.size()));
}

bool check_index(Py_ssize_t index) {
  if (index >= 0 && index < count) return true;
  PyErr_Format(PyExc_IndexError, "entry %zd of an archive of %zd", index, count);
  return false;
}

// find(path) -> index of the entry, or -1.
PyObject* image_find(PyObject*, PyObject* path) {
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(path, &size);
  if (data == nullptr) return nullptr;
  return PyLong_FromSsize_t(find({data, static_cast<size_t>(size)}));
}

// code(index) -> code object, or None for a data file.
PyObject* image_code(PyObject*, PyObject* number) {
  const Py_ssize_t index = PyLong_AsSsize_t(number);
  if ((index == -1 && PyErr_Occurred()) || !check_index(index)) return nullptr;
  if (entries[index].code_size == 0) Py_RETURN_NONE;
  return code_at(index);
}

// content(index) -> (the file's bytes compressed by zlib, their real size).
PyObject* image_content(PyObject*, PyObject* number) {
  const Py_ssize_t index = PyLong_AsSsize_t(number);
  if ((index == -1 && PyErr_Occurred()) || !check_index(index)) return nullptr;
  const std::string_view content = piece(entries[index].content_offset, entries[index].content_size);
  return Py_BuildValue("y#I", content.data(), static_cast<Py_ssize_t>(content.size()), entries[index].content_real_size);
}

// listing(prefix) -> every path that starts with it.
PyObject* image_listing(PyObject*, PyObject* prefix) {
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(prefix, &size);
  if (data == nullptr) return nullptr;
  const std::string_view start(data, static_cast<size_t>(size));
  Ref list(PyList_New(0));
  for (Py_ssize_t i = lower_bound(start); list && i < count && path_of(i).substr(0, start.size()) == start; ++i) {
    Ref path(PyUnicode_DecodeUTF8(path_of(i).data(), static_cast<Py_ssize_t>(path_of(i).size()), nullptr));
    if (!path || PyList_Append(list.get(), path.get()) < 0) return nullptr;
  }
  return list.release();
}

// boot() -> (folder of the extension modules, sys.path, index of the first site-packages folder in it).
PyObject* image_boot(PyObject*, PyObject*) {
  Ref paths(PyList_New(0));
  for (const std::string& each : *boot_paths) {
    Ref path(paths ? PyUnicode_DecodeFSDefaultAndSize(each.data(), static_cast<Py_ssize_t>(each.size())) : nullptr);
    if (!path || PyList_Append(paths.get(), path.get()) < 0) return nullptr;
  }
  return Py_BuildValue("s#On", dynload->data(), static_cast<Py_ssize_t>(dynload->size()), paths.get(),
                       static_cast<Py_ssize_t>(first_site));
}

PyMethodDef image_methods[] = {
    {"find", image_find, METH_O, nullptr},       {"code", image_code, METH_O, nullptr},
    {"content", image_content, METH_O, nullptr}, {"listing", image_listing, METH_O, nullptr},
    {"boot", image_boot, METH_NOARGS, nullptr},  {nullptr, nullptr, 0, nullptr},
};

PyModuleDef_Slot image_slots[] = {DEPLOY_EACH_INTERPRETER{0, nullptr}};

PyModuleDef image_module = {PyModuleDef_HEAD_INIT, "_deploy_image", nullptr, 0,      image_methods,
                            image_slots,           nullptr,         nullptr, nullptr};

PyObject* init_image_module() { return PyModuleDef_Init(&image_module); }

}  // namespace

long find_entry(std::string_view path) { return find(path); }

long first_entry(std::string_view prefix) {
  const Py_ssize_t index = lower_bound(prefix);
  return index < count && path_of(index).starts_with(prefix) ? index : -1;
}

long after_folder(long entry, size_t size) {
  const std::string_view folder = path_of(entry).substr(0, size + 1);
  while (entry < count && path_of(entry).starts_with(folder)) ++entry;
  return entry;
}

long entry_count() { return count; }
std::string_view entry_path(long entry) { return path_of(entry); }
std::string_view entry_content(long entry) { return piece(entries[entry].content_offset, entries[entry].content_size); }
size_t entry_size(long entry) { return entries[entry].content_real_size; }
bool is_library(long entry) { return path_of(entry).starts_with(kLibraries); }

const char* install_stdlib(std::string_view bytes) {
  if (const char* problem = open_archive(bytes)) return problem;

  static const struct {
    const char* name;
    const char* path;
  } needed_by_start[] = {
      {"encodings", "encodings/__init__.py"},    {"encodings.aliases", "encodings/aliases.py"},
      {"encodings.utf_8", "encodings/utf_8.py"}, {"encodings.latin_1", "encodings/latin_1.py"},
      {"site", "_deploy/subinterpreter.py"},
  };
  constexpr size_t kNeeded = sizeof needed_by_start / sizeof *needed_by_start;
  static _frozen frozen[kNeeded + 1] = {};  // the last one ends the list
  for (size_t i = 0; i < kNeeded; ++i) {
    const Py_ssize_t index = find(needed_by_start[i].path);
    if (index < 0) return needed_by_start[i].path;
    const std::string_view code = piece(entries[index].code_offset, entries[index].code_size);
    frozen[i].name = needed_by_start[i].name;
    frozen[i].code = reinterpret_cast<const unsigned char*>(code.data());
    frozen[i].size = static_cast<int>(code.size());
    frozen[i].is_package = i == 0;
  }
  PyImport_FrozenModules = frozen;
  return PyImport_AppendInittab("_deploy_image", init_image_module) == 0 ? nullptr : "out of memory";
}

bool run_startup(const deploy_boot& boot) {
  const Py_ssize_t index = find("_deploy/finder.py");
  if (index < 0) {
    PyErr_SetString(PyExc_ImportError, "the image has no _deploy/finder.py");
    return false;
  }
  Ref code(code_at(index));
  if (!code) return false;
  Ref finder(PyImport_ExecCodeModule("_deploy.finder", code.get()));
  if (!finder) return false;
  dynload = new std::string(boot.dynload.size ? view(boot.dynload) : std::string_view("<image>/lib-dynload"));
  boot_paths = new std::vector<std::string>;
  for (size_t i = 0; i < boot.path_count; ++i) boot_paths->emplace_back(view(boot.paths[i]));
  first_site = boot.first_site;
  Ref installed(PyObject_CallMethod(finder.get(), "install", "s#", dynload->data(), static_cast<Py_ssize_t>(dynload->size())));
  if (!installed) return false;

  Ref image(PyImport_ImportModule("_deploy_image"));
  Ref given(image ? PyObject_CallMethod(image.get(), "boot", nullptr) : nullptr);
  Ref startup(given ? PyImport_ImportModule("_deploy.startup") : nullptr);
  if (!startup) return false;
  PyObject* paths = PyTuple_GET_ITEM(given.get(), 1);
  return static_cast<bool>(
      Ref(PyObject_CallMethod(startup.get(), "run", "OOi", paths, PyTuple_GET_ITEM(given.get(), 2), boot.deferred_imports)));
}

}  // namespace deploy::guest
