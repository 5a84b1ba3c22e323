// A library of one custom op, deploy_loaded::count(x): a tensor like x, filled with the number of calls so far on this thread.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

using torch::stable::Tensor;

static thread_local int calls = 0;

Tensor count(Tensor x) { return torch::stable::fill_(torch::stable::clone(x), ++calls); }

STABLE_TORCH_LIBRARY(deploy_loaded, m) { m.def("count(Tensor x) -> Tensor"); }
STABLE_TORCH_LIBRARY_IMPL(deploy_loaded, CPU, m) { m.impl("count", TORCH_BOX(&count)); }
