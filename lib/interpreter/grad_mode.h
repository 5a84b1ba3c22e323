#pragma once

#include <cstdint>
#include <optional>

#include "deploy/grad_mode.h"
#include "lib/interpreter/abi.h"
#include "lib/support/result.h"

namespace deploy::detail {

// The mode that a thread is in during a call; none without a mode to go to, or where the interpreter has no torch.
class GradScope {
 public:
  GradScope(const deploy_guest& guest, std::optional<GradMode> mode, deploy_error* error) : guest_(guest) {
    if (mode) failed_ = guest.enter_grad_mode(static_cast<std::uint32_t>(*mode), &entered_, error) < 0;
  }
  GradScope(const GradScope&) = delete;
  GradScope& operator=(const GradScope&) = delete;
  ~GradScope() {
    if (entered_) guest_.leave_grad_mode(entered_);
  }

  // Whether the guest has reported an error instead.
  bool failed() const { return failed_; }

 private:
  const deploy_guest& guest_;
  deploy_object entered_ = nullptr;
  bool failed_ = false;
};

// A failure of a call in that mode; where torch's text shows that the mode is the reason, with what to do.
Failure explained(Failure failure, std::optional<GradMode> mode);

}  // namespace deploy::detail
