#pragma once

#include "deploy/environment.h"
#include "lib/loader/namespace.h"
#include "lib/support/result.h"

namespace deploy::detail {

// Whether interpreters can be made with this environment: its folders exist and hold no packages of another Python version.
// kEnvironment.
Result<void> check_environment(const Environment& environment);

// The environment's limits, with the one on bytes as a number.
ValueLimits value_limits(const Environment& environment);

// Which libraries are private to an interpreter (D1).
loader::Policy link_policy(const Environment& environment);

}  // namespace deploy::detail
