#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

namespace deploy {

// A line that Python code in an interpreter wrote to sys.stdout or sys.stderr.
struct OutputLine {
  enum class Stream { kStdout = 1, kStderr = 2 };

  std::size_t interpreter = 0;  // Interpreter::id()
  Stream stream = Stream::kStdout;
  // Without its line end; valid during the call. What Python's text layer wrote is UTF-8; code may write other bytes to
  // sys.stdout.buffer.
  std::string_view text = {};
  // False for a line that is not over: what was there at an explicit flush(), at the interpreter's end, or after 64 KiB.
  bool complete = true;
};

// Receives the output of interpreters, line by line (Environment::on_output).
//
// Threads: it runs on the thread that wrote the line, before the write returns: one that is in a call or a session, a thread of
// Python's own, or one of libdeploy's while the interpreter boots or ends. The interpreter's GIL is released meanwhile, so several
// threads may be in it at once, of one interpreter too; the lines of one thread come in order.
//
// It must not enter the interpreter that wrote: a session of it that it begins or uses throws kWrongSession, and one that it closes
// ends with the thread. Other interpreters are free to use. What it throws is dropped; the guest never notices.
//
// In a process that Python code forked it is not called: there, and where no callback is set, output goes to the process's own
// streams. So does what libraries write to the file descriptors 1 and 2 themselves (C's printf, a child process that inherits
// them); sys.stdout.fileno() raises, as for any stream without a descriptor.
using OutputCallback = std::function<void(const OutputLine&)>;

}  // namespace deploy
