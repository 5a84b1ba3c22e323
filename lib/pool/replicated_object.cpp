#include <memory>
#include <utility>

#include "deploy/package.h"
#include "lib/pool/replica_core.h"

namespace deploy {

namespace {

using Timeout = std::optional<std::chrono::nanoseconds>;

detail::Deadline deadline_of(const Timeout& timeout) { return timeout ? detail::deadline_after(*timeout) : detail::kNoDeadline; }

Value call_on_any(detail::ReplicaCore& core, const Timeout& timeout, std::string_view method, const Args& args,
                  const Kwargs& kwargs) {
  Result<detail::SessionCore> session = core.manager().enter_any(deadline_of(timeout));
  if (!session) session.failure().raise();
  const Result<deploy_object> object = core.local(*session);
  if (!object) object.failure().raise();
  return session->call_value(*object, method, args, kwargs, core.grad_mode()).value();
}

}  // namespace

ReplicatedObject::ReplicatedObject(std::shared_ptr<detail::ReplicaCore> core, Timeout timeout) noexcept
    : core_(std::move(core)), timeout_(timeout) {}

ReplicatedObject ReplicatedObject::with_timeout(std::chrono::nanoseconds timeout) const { return ReplicatedObject(core_, timeout); }

Value ReplicatedObject::call(Args args, Kwargs kwargs) const { return call_on_any(*core_, timeout_, {}, args, kwargs); }

Value ReplicatedObject::call_method(std::string_view name, Args args, Kwargs kwargs) const {
  if (name.empty())
    throw Error(ErrorCode::kInvalidArgument, "call_method needs the name of a method; call() calls the object itself");
  return call_on_any(*core_, timeout_, name, args, kwargs);
}

ValueLimits ReplicatedObject::value_limits() const noexcept { return core_->manager().value_limits(); }

void ReplicatedObject::preload() const { core_->preload().value(); }

InterpreterSession ReplicatedObject::acquire_session() const {
  return InterpreterSession(std::make_unique<detail::SessionCore>(core_->manager().enter_any(deadline_of(timeout_)).value()));
}

}  // namespace deploy
