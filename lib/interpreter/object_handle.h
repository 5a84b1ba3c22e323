#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "deploy/grad_mode.h"
#include "deploy/object.h"
#include "lib/interpreter/interpreter_core.h"

namespace deploy {

// One reference, and the session that it may be used in; or none: then each use of it is a session.
struct Object::Handle {
  static constexpr std::uint64_t kNoSession = 0;

  detail::Reference reference;
  std::size_t slot, core_id;               // the interpreter
  std::uint64_t serial;                    // the session, or kNoSession
  std::optional<GradMode> grad_mode = {};  // of calls of it and of what comes out of it; nullopt: as Python has it
  // Of a handle without a session:
  std::weak_ptr<detail::InterpreterCore> core = {};
  std::string type = {};  // the name of the object's type, where it is known
};

namespace detail {

// The reference of an Object for a call into `core` by the calling thread, which is inside a session of it. kWrongSession where the
// object is another interpreter's, or its session has ended or is another thread's; kInvalidArgument for an empty handle.
Result<deploy_object> usable_object(const Object& object, const InterpreterCore& core);

}  // namespace detail
}  // namespace deploy
