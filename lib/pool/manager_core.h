#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "deploy/interpreter.h"
#include "deploy/manager.h"
#include "lib/interpreter/gate.h"
#include "lib/interpreter/session_core.h"
#include "lib/support/forks.h"
#include "lib/support/result.h"

namespace deploy {
class PackageFile;
}

namespace deploy::detail {

class PackageCore;

// What keeps references on objects of a manager's interpreters. An interpreter that ends with its objects still referred to cannot
// free what they hold outside of its memory: descriptors.
class ReferenceHolder {
 public:
  virtual ~ReferenceHolder() = default;
  // Once, when no seat is taken nor will be.
  virtual void drop_references() noexcept = 0;
};

// N interpreters behind one gate: seat i is interpreter i's. Packages and replicas hold a shared_ptr to their manager; after
// close() they find a closed gate. In a process that was forked from the one that made it, it is left alone: nothing of it is
// closed, destroyed or locked. Thread-safe.
class ManagerCore : public std::enable_shared_from_this<ManagerCore> {
 public:
  // Boots all interpreters, in parallel. The first failure, where there is one; nothing is left then.
  static Result<std::shared_ptr<ManagerCore>> create(ManagerOptions options);

  std::size_t size() const { return gate_->size(); }
  Gate& gate() const { return *gate_; }
  const Environment& environment() const { return environment_; }
  const ValueLimits& value_limits() const { return value_limits_; }

  // A session on a free interpreter, in order of arrival; or on a given one. kClosed, kDeadlineExceeded. The deadline is the
  // session's too.
  Result<SessionCore> enter_any(Deadline deadline = kNoDeadline);
  Result<SessionCore> enter(std::size_t seat, Deadline deadline = kNoDeadline);
  // The same for a thread that may hold other seats, and so must not wait: nullopt where somebody else holds this one.
  std::optional<Result<SessionCore>> enter_if_free(std::size_t seat);

  bool is_foreign() const { return process_ != this_process(); }

  // kClosed after close().
  Result<const std::vector<Interpreter>*> interpreters() const;

  Result<void> register_module(std::string_view name, std::string_view source);

  // See InterpreterManager::close().
  Result<void> close();

  // Another set of as many interpreters, with this manager's environment and registered modules, for a package that conflicts with
  // what is in this one: it lives as long as packages and objects hold it, and close() closes it too. What the environment preloads
  // is left out where it belongs to one of `tops`.
  Result<std::shared_ptr<ManagerCore>> add_annex(const std::vector<std::string>& tops);
  std::vector<std::shared_ptr<ManagerCore>> annexes() const;

  // Whether this thread holds a session of this manager or one of its annexes.
  bool held() const;

  // `holder` gives its references back when the manager closes.
  void add_holder(std::weak_ptr<ReferenceHolder> holder);

  // Packages by number, for objects that are replicated: their pickles name the package a class came from.
  std::uint64_t next_package_id() { return next_package_id_++; }
  void add_package(std::uint64_t id, const std::shared_ptr<PackageCore>& package);
  std::shared_ptr<PackageCore> find_package(std::uint64_t id) const;
  // In the annexes too.
  std::shared_ptr<PackageCore> find_package(const PackageFile& file) const;

 private:
  explicit ManagerCore(ManagerOptions& options);
  Result<void> boot();

  const std::uint64_t process_ = this_process();
  const Environment environment_;
  const ValueLimits value_limits_;
  const std::shared_ptr<Gate> gate_;
  std::vector<Interpreter> interpreters_;  // written before create() returns, and by close() when no seat is taken
  std::atomic<bool> closed_ = false;
  std::mutex close_mutex_;

  std::atomic<std::uint64_t> next_package_id_ = 0;
  mutable std::mutex annexes_mutex_;
  std::vector<std::weak_ptr<ManagerCore>> annexes_;                      // guarded by annexes_mutex_
  std::vector<std::pair<std::string, std::string>> registered_modules_;  // guarded by annexes_mutex_

  std::mutex holders_mutex_;
  std::vector<std::weak_ptr<ReferenceHolder>> holders_;  // guarded by holders_mutex_
  std::size_t swept_ = 0;                                // of them, when those that are gone were last taken out

  mutable std::mutex packages_mutex_;
  std::unordered_map<std::uint64_t, std::weak_ptr<PackageCore>> packages_;  // guarded by packages_mutex_
};

}  // namespace deploy::detail
