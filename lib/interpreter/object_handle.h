#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "deploy/grad_mode.h"
#include "deploy/object.h"
#include "lib/interpreter/interpreter_core.h"

namespace deploy {

// One reference, and the session that it may be used in.
struct Object::Handle {
  detail::Reference reference;
  std::size_t slot, core_id;               // the interpreter
  std::uint64_t serial;                    // the session
  std::optional<GradMode> grad_mode = {};  // of calls of it and of what comes out of it; nullopt: as Python has it
};

namespace detail {

// The reference of an Object for a call into `core` by the calling thread, which is inside a session of it. kWrongSession where the
// object's session has ended or is of another interpreter or thread; kInvalidArgument for an empty handle.
Result<deploy_object> usable_object(const Object& object, const InterpreterCore& core);

}  // namespace detail
}  // namespace deploy
