#pragma once

#include <functional>
#include <string>

#include "deploy/value.h"
#include "outputs.h"

// The baseline: a call of the trace at `path` through libtorch, with `inputs` in order as its positional arguments, in inference
// mode and with one intra-op thread. Callable from any number of threads at once. Throws std::runtime_error where the file is no
// trace.
std::function<bool()> torchscript_call(const std::string& path, const deploy::Kwargs& inputs, const Reference& reference);
