// Reads the byte code that Python itself keeps beside a source file (__pycache__/NAME.cpython-3XX.pyc): the builtin module
// _deploy_bytecode, for the loader of python/finder.py.
//
// A program with torch imports a thousand modules. importlib reads each through a dozen layers of Python and ten system calls, into
// a bytes object that it copies from. Here it is five calls and one buffer. What is accepted is what importlib accepts without a
// further look: byte code of this Python, whose recorded time and size are those of the source now. Everything else (no byte code,
// stale or hash-checked byte code, a damaged file) is importlib's affair, errors included.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "lib/interpreter/guest/guest.h"
// clang-format off
#include <marshal.h>  // needs Python.h, which guest.h includes
// clang-format on

namespace deploy::guest {
namespace {

constexpr std::string_view kSuffix = ".py";
constexpr const char* kTag = ".cpython-" Py_STRINGIFY(PY_MAJOR_VERSION) Py_STRINGIFY(PY_MINOR_VERSION) ".pyc";

struct Header {
  uint32_t magic, flags, mtime, size;
};

// "a/b.py" -> "a/__pycache__/b.cpython-311.pyc"; empty for what is no source file.
std::string cache_path(std::string_view source) {
  if (source.size() <= kSuffix.size() || source.substr(source.size() - kSuffix.size()) != kSuffix) return {};
  const size_t slash = source.rfind('/');
  if (slash == source.npos) return {};
  std::string path(source.substr(0, slash));
  path += "/__pycache__/";
  path += source.substr(slash + 1, source.size() - slash - 1 - kSuffix.size());
  return path += kTag;
}

// The bytes of a file; null where it cannot be read whole. Without the GIL.
struct Buffer {
  char* data = nullptr;
  size_t size = 0;
  ~Buffer() { PyMem_RawFree(data); }
};

bool read_file(const char* path, Buffer& buffer) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  struct stat status;
  if (fstat(file, &status) == 0 && status.st_size >= static_cast<off_t>(sizeof(Header))) {
    const auto size = static_cast<size_t>(status.st_size);
    buffer.data = static_cast<char*>(PyMem_RawMalloc(size));
    while (buffer.data && buffer.size < size) {
      const ssize_t got = read(file, buffer.data + buffer.size, size - buffer.size);
      if (got <= 0) break;
      buffer.size += static_cast<size_t>(got);
    }
    if (buffer.size != size) buffer.size = 0;
  }
  close(file);
  return buffer.size != 0;
}

bool is_of(const Buffer& buffer, const struct stat& source) {
  Header header;
  std::memcpy(&header, buffer.data, sizeof header);
  return header.magic == static_cast<uint32_t>(PyImport_GetMagicNumber()) && header.flags == 0 &&
         header.mtime == static_cast<uint32_t>(source.st_mtime) && header.size == static_cast<uint32_t>(source.st_size);
}

// load(path of a source file) -> code object, or None where importlib has to look.
PyObject* load(PyObject*, PyObject* path) {
  PyObject* encoded = nullptr;
  if (!PyUnicode_FSConverter(path, &encoded)) return nullptr;
  Ref source(encoded);
  const char* source_path = PyBytes_AS_STRING(source.get());
  const std::string cached = cache_path(source_path);
  if (cached.empty()) Py_RETURN_NONE;

  Buffer buffer;
  struct stat status;
  bool complete = false;
  Py_BEGIN_ALLOW_THREADS;
  complete = stat(source_path, &status) == 0 && read_file(cached.c_str(), buffer);
  Py_END_ALLOW_THREADS;
  if (!complete || !is_of(buffer, status)) Py_RETURN_NONE;

  Ref code(PyMarshal_ReadObjectFromString(buffer.data + sizeof(Header), static_cast<Py_ssize_t>(buffer.size - sizeof(Header))));
  if (code && PyCode_Check(code.get())) return code.release();
  PyErr_Clear();
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {{"load", load, METH_O, nullptr}, {nullptr, nullptr, 0, nullptr}};

PyModuleDef_Slot slots[] = {DEPLOY_EACH_INTERPRETER{0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_deploy_bytecode", nullptr, 0, methods, slots, nullptr, nullptr, nullptr};

PyObject* init_module() { return PyModuleDef_Init(&definition); }

}  // namespace

bool install_bytecode() { return PyImport_AppendInittab("_deploy_bytecode", init_module) == 0; }

}  // namespace deploy::guest
