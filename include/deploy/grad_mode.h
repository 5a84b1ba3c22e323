#pragma once

#include "deploy/export.h"

namespace deploy {

// PyTorch's state of a thread that says whether operations are recorded for gradients ("grad mode" in its documentation). Calls of
// models run in one of these (Environment::grad_mode); without torch they mean nothing and cost nothing.
enum class GradMode : int {
  // As under torch.no_grad(): nothing is recorded. Code that needs a gradient inside asks for it by torch.enable_grad(), as in
  // plain Python.
  kNoGrad = 0,

  // As under torch.inference_mode(): a few per cent faster for small operations. Tensors that are made in it can neither be used
  // for
  // a gradient nor be changed in place outside of it: not by other threads of the model, not by calls in another mode, and
  // torch.enable_grad() inside does not help.
  kInferenceMode = 1,

  // As under torch.enable_grad(): recorded, as Python does without a word.
  kEnableGrad = 2,
};

// "no_grad", "inference_mode", "enable_grad": the function of torch.
DEPLOY_API const char* to_string(GradMode mode) noexcept;

}  // namespace deploy
