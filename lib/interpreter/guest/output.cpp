// Python's standard output and error on their way to the host: the builtin module _deploy_output, over which python/output.py makes
// text streams. Bytes become lines here, under the GIL and so without a lock; the GIL is released while the host has a line. A
// write() from within a write() of the same thread (a __del__, a signal handler) is a write of its own, because the line has left
// the buffer before the host sees it.

#include <unistd.h>

#include <string>
#include <utility>

#include "lib/interpreter/guest/guest.h"

namespace deploy::guest {
namespace {

constexpr size_t kLongestLine = 64 * 1024;
constexpr int32_t kStreams = 2;  // 1 and 2, as their descriptors

const deploy_host* host = nullptr;
pid_t home = 0;

// What came after the last line end.
std::string* pending[kStreams + 1] = {};

// A forked process has a copy of the host's memory and none of its threads: what the callback locks may be locked for ever.
void write_to_process(int32_t stream, std::string_view line, bool complete) {
  std::string bytes(line);
  if (complete) bytes += '\n';
  for (std::string_view rest = bytes; !rest.empty();) {
    const ssize_t written = ::write(stream, rest.data(), rest.size());
    if (written <= 0) return;
    rest.remove_prefix(static_cast<size_t>(written));
  }
}

void hand_over(int32_t stream, std::string_view line, bool complete) {
  if (getpid() == home)
    host->write_line(host->output_context, stream, text(line), complete);
  else
    write_to_process(stream, line, complete);
}

void send(int32_t stream, std::string_view line, bool complete) {
  PyThreadState* state = PyEval_SaveThread();
  hand_over(stream, line, complete);
  PyEval_RestoreThread(state);
}

// The size of `line` without a character of UTF-8 that has only begun at its end.
size_t whole_characters(std::string_view line) {
  for (size_t n = 1; n < 4 && n < line.size(); ++n) {
    const auto byte = static_cast<unsigned char>(line[line.size() - n]);
    if ((byte & 0xC0) == 0x80) continue;
    const size_t needed = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return needed > n ? line.size() - n : line.size();
  }
  return line.size();
}

// Sends whole lines, and what is too long for one; the rest is pending.
void take(int32_t stream, std::string_view bytes) {
  std::string& rest = *pending[stream];
  for (;;) {
    const size_t end = bytes.find('\n');
    std::string_view part = bytes.substr(0, end);
    while (rest.size() + part.size() > kLongestLine) {
      const size_t room = kLongestLine - rest.size();
      rest.append(part.substr(0, room));
      part.remove_prefix(room);
      const size_t cut = whole_characters(rest);
      const std::string piece = rest.substr(0, cut);
      rest.erase(0, cut);
      send(stream, piece, false);
    }
    rest.append(part);
    if (end == bytes.npos) return;
    std::string line;
    line.swap(rest);
    send(stream, line, true);
    bytes.remove_prefix(end + 1);
  }
}

bool is_stream(int stream) {
  if (stream >= 1 && stream <= kStreams) return true;
  PyErr_Format(PyExc_ValueError, "stream %d: expected 1 (stdout) or 2 (stderr)", stream);
  return false;
}

// write(stream, bytes) -> their number.
PyObject* output_write(PyObject*, PyObject* arguments) {
  int stream = 0;
  Py_buffer bytes;
  if (!PyArg_ParseTuple(arguments, "iy*", &stream, &bytes)) return nullptr;
  PyObject* written = is_stream(stream) ? PyLong_FromSsize_t(bytes.len) : nullptr;
  if (written) take(stream, {static_cast<const char*>(bytes.buf), static_cast<size_t>(bytes.len)});
  PyBuffer_Release(&bytes);
  return written;
}

// flush(stream): sends the part of a line that there is.
PyObject* output_flush(PyObject*, PyObject* number) {
  const int stream = static_cast<int>(PyLong_AsLong(number));
  if ((stream == -1 && PyErr_Occurred()) || !is_stream(stream)) return nullptr;
  std::string line;
  line.swap(*pending[stream]);
  if (!line.empty()) send(stream, line, false);
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"write", output_write, METH_VARARGS, nullptr},
    {"flush", output_flush, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_deploy_output", nullptr, 0, methods, nullptr, nullptr, nullptr, nullptr};

PyObject* init_module() { return PyModule_Create(&definition); }

}  // namespace

void use_host_output(const deploy_host& given) {
  if (given.write_line) host = &given;
}

const char* install_output() {
  if (!host) return nullptr;
  home = getpid();
  for (int32_t stream = 1; stream <= kStreams; ++stream) pending[stream] = new std::string;
  return PyImport_AppendInittab("_deploy_output", init_module) == 0 ? nullptr : "out of memory";
}

void finish_output() {
  for (int32_t stream = 1; stream <= kStreams; ++stream) {
    std::string* line = std::exchange(pending[stream], nullptr);
    if (line && !line->empty()) hand_over(stream, *line, false);
    delete line;
  }
}

}  // namespace deploy::guest
