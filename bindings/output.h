#pragma once

#include <nanobind/nanobind.h>

#include "deploy/output.h"

namespace deploy::bindings {

// A Python callable (interpreter, stream, line) as an OutputCallback; None: an empty one. It takes the host's GIL, which no thread
// holds while it waits for a guest (gil.h). What it raises goes to sys.unraisablehook. While the process exits lines go to the
// process's own streams. With the GIL held.
OutputCallback to_output_callback(nanobind::handle callable);

}  // namespace deploy::bindings
