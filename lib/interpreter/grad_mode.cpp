#include "lib/interpreter/grad_mode.h"

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace deploy {

static_assert(static_cast<int>(GradMode::kNoGrad) == DEPLOY_NO_GRAD);
static_assert(static_cast<int>(GradMode::kInferenceMode) == DEPLOY_INFERENCE_MODE);
static_assert(static_cast<int>(GradMode::kEnableGrad) == DEPLOY_ENABLE_GRAD);

const char* to_string(GradMode mode) noexcept {
  switch (mode) {
    case GradMode::kNoGrad:
      return "no_grad";
    case GradMode::kInferenceMode:
      return "inference_mode";
    case GradMode::kEnableGrad:
      return "enable_grad";
  }
  return "unknown";
}

namespace detail {

namespace {

// What torch says where a gradient was wanted and nothing was recorded, or where tensors of inference mode are used outside of it.
constexpr std::array<std::string_view, 4> kSymptoms = {"does not require grad", "Inference tensors cannot", "inference tensor",
                                                       "outside InferenceMode"};

}  // namespace

Failure explained(Failure failure, std::optional<GradMode> mode) {
  if (!mode || mode == GradMode::kEnableGrad || failure.code != ErrorCode::kPython) return failure;
  for (const std::string_view symptom : kSymptoms) {
    if (failure.message.find(symptom) == std::string::npos) continue;
    failure.message += std::string(" (the call ran as under torch.") + to_string(*mode) +
                       "(), as calls of models do unless told otherwise; one that needs gradients is packed with "
                       "deploy.package.save(grad_mode=\"enable_grad\"), or called in an Environment with that grad_mode)";
    break;
  }
  return failure;
}

}  // namespace detail
}  // namespace deploy
