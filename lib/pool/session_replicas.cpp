#include <memory>
#include <utility>

#include "deploy/interpreter.h"
#include "deploy/package.h"
#include "lib/pool/replica_core.h"

// The two members of InterpreterSession that know of replicas: layers depend downwards only, and replicas are above sessions.

namespace deploy {

namespace {

// One more reference on an object of the session's interpreter.
detail::Reference share(detail::SessionCore& session, deploy_object object) {
  deploy_value value = {};
  value.kind = DEPLOY_OBJECT;
  value.as.object = object;
  deploy_error ignored = {[](deploy_error*, int32_t, deploy_text, deploy_text, deploy_text) {}};
  deploy_object shared = session.interpreter()->guest().from_value(&value, &ignored);
  if (!shared) throw Error(ErrorCode::kInternal, "the guest gave no reference on a replicated object");
  return detail::Reference(session.interpreter()->releases(), shared);
}

}  // namespace

Object InterpreterSession::from_replicated(const ReplicatedObject& object) const {
  detail::SessionCore& session = core();
  session.check().value();
  detail::ReplicaCore& replica = *object.core();
  if (session.interpreter()->manager().get() != &replica.manager()) {
    throw Error(ErrorCode::kInvalidArgument, "the replicated object belongs to another manager than this session's interpreter");
  }
  const Result<deploy_object> local = replica.local(session);
  if (!local) local.failure().raise();
  return session.object(share(session, *local), replica.grad_mode());
}

ReplicatedObject InterpreterSession::replicate(const Object& object) const {
  detail::SessionCore& session = core();
  session.check().value();
  std::shared_ptr<detail::ManagerCore> manager = session.interpreter()->manager();
  if (!manager) {
    throw Error(ErrorCode::kInvalidArgument, "replicate() needs a session of a manager's interpreter; this one's belongs to none");
  }
  std::unique_ptr<detail::Recipe> recipe = detail::DumpRecipe::dump(*manager, session, object).value();
  return ReplicatedObject(detail::ReplicaCore::create(std::move(manager), std::move(recipe)));
}

}  // namespace deploy
