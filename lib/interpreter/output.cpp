#include "deploy/output.h"

#include "lib/interpreter/interpreter_core.h"
#include "lib/interpreter/process.h"

namespace deploy::detail {

// A line that the guest hands over, on any thread, with the GIL released. Below are C frames of the guest, which no exception may
// cross.
void InterpreterCore::write_line(void* self, std::int32_t stream, deploy_text line, int complete) noexcept {
  const auto& core = *static_cast<const InterpreterCore*>(self);
  const OutputScope scope(core);
  try {
    core.environment_.on_output({.interpreter = core.id_,
                                 .stream = static_cast<OutputLine::Stream>(stream),
                                 .text = {line.data, line.size},
                                 .complete = complete != 0});
  } catch (...) {  // the callback's own affair, says its contract
  }
}

}  // namespace deploy::detail
