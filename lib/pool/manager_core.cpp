#include "lib/pool/manager_core.h"

#include <algorithm>
#include <utility>

#include "lib/interpreter/environment.h"
#include "lib/interpreter/interpreter_core.h"
#include "lib/interpreter/process.h"
#include "lib/pool/in_parallel.h"
#include "lib/pool/package_core.h"

namespace deploy::detail {

namespace {

// More than any machine holds: each takes megabytes, and a thread. What is above it was no number of interpreters.
constexpr std::size_t kMostInterpreters = 65'536;

std::vector<std::shared_ptr<ManagerCore>> live(const std::vector<std::weak_ptr<ManagerCore>>& annexes) {
  std::vector<std::shared_ptr<ManagerCore>> out;
  for (const std::weak_ptr<ManagerCore>& each : annexes) {
    if (std::shared_ptr<ManagerCore> annex = each.lock()) out.push_back(std::move(annex));
  }
  return out;
}

}  // namespace

ManagerCore::ManagerCore(ManagerOptions& options)
    : environment_(std::move(options.environment)),
      value_limits_(detail::value_limits(environment_)),
      gate_(std::make_shared<Gate>(options.interpreters)) {}

Result<std::shared_ptr<ManagerCore>> ManagerCore::create(ManagerOptions options) {
  if (options.interpreters == 0 || options.interpreters > kMostInterpreters) {
    return Failure{ErrorCode::kInvalidArgument, "a manager has at least 1 interpreter and at most " +
                                                    std::to_string(kMostInterpreters) + "; " +
                                                    std::to_string(options.interpreters) + " were asked for"};
  }
  std::shared_ptr<ManagerCore> manager(new ManagerCore(options), [](ManagerCore* core) {
    if (!core->is_foreign()) delete core;
  });
  if (Result<void> booted = manager->boot(); !booted) return std::move(booted.failure());
  return manager;
}

Result<void> ManagerCore::boot() {
  std::vector<std::shared_ptr<InterpreterCore>> cores(size());
  Result<void> booted = in_parallel(size(), [&](std::size_t seat) -> Result<void> {
    Result<std::shared_ptr<InterpreterCore>> core = InterpreterCore::create({environment_, gate_, seat, weak_from_this()});
    if (!core) return std::move(core.failure());
    cores[seat] = std::move(*core);
    return {};
  });
  if (!booted) return booted;
  for (std::shared_ptr<InterpreterCore>& core : cores) interpreters_.emplace_back(std::move(core));
  return {};
}

Result<SessionCore> ManagerCore::enter_any(Deadline deadline) {
  const Result<std::size_t> seat = gate_->acquire_any(deadline);
  if (!seat) return seat.failure();
  Result<SessionCore> session = SessionCore::open_seated(interpreters_[*seat].core());
  if (session && deadline != kNoDeadline) session->set_deadline(deadline);
  return session;
}

Result<SessionCore> ManagerCore::enter(std::size_t seat, Deadline deadline) {
  if (Result<void> acquired = gate_->acquire(seat, deadline); !acquired) return std::move(acquired.failure());
  Result<SessionCore> session = SessionCore::open_seated(interpreters_[seat].core());
  if (session && deadline != kNoDeadline) session->set_deadline(deadline);
  return session;
}

std::optional<Result<SessionCore>> ManagerCore::enter_if_free(std::size_t seat) {
  const std::optional<std::size_t> held = gate_->held();
  if (!held || *held == seat) return enter(seat);
  if (!gate_->try_acquire(seat)) return std::nullopt;
  return SessionCore::open_seated(interpreters_[seat].core());  // close() waits for the seat that is held
}

Result<const std::vector<Interpreter>*> ManagerCore::interpreters() const {
  if (is_foreign()) return forked_failure();
  if (closed_) return Failure{ErrorCode::kClosed, "the manager is closed: it has no interpreters"};
  return &interpreters_;
}

Result<void> ManagerCore::register_module(std::string_view name, std::string_view source) {
  if (is_foreign()) return forked_failure();
  std::vector<std::shared_ptr<ManagerCore>> annexes;
  {
    const std::scoped_lock lock(annexes_mutex_);
    registered_modules_.emplace_back(name, source);
    annexes = live(annexes_);
  }
  for (const std::shared_ptr<ManagerCore>& annex : annexes) {
    if (Result<void> registered = annex->register_module(name, source); !registered) return registered;
  }
  for (std::size_t seat = 0; seat < size(); ++seat) {
    Result<SessionCore> session = enter(seat);
    if (!session) return std::move(session.failure());
    if (Result<void> registered = session->register_module(name, source); !registered) return registered;
  }
  return {};
}

Result<void> ManagerCore::close() {
  if (is_foreign()) return {};
  if (held()) {
    return Failure{ErrorCode::kInvalidArgument,
                   "the manager cannot be closed by a thread that holds one of its sessions; close the session first"};
  }
  gate_->close();
  const std::scoped_lock lock(close_mutex_);
  closed_ = true;
  for (const std::shared_ptr<ManagerCore>& annex : annexes()) {
    if (Result<void> closed = annex->close(); !closed) return closed;
  }
  std::vector<std::weak_ptr<ReferenceHolder>> holders;
  {
    const std::scoped_lock lock(holders_mutex_);
    holders.swap(holders_);
  }
  for (const std::weak_ptr<ReferenceHolder>& each : holders) {
    if (const auto holder = each.lock()) holder->drop_references();
  }
  // Whoever drops an interpreter's last handle finalises it and waits for that: all at once.
  Result<void> dropped = in_parallel(interpreters_.size(), [&](std::size_t seat) -> Result<void> {
    const Interpreter last = std::exchange(interpreters_[seat], Interpreter(nullptr));
    return {};
  });
  interpreters_.clear();
  return dropped;
}

Result<std::shared_ptr<ManagerCore>> ManagerCore::add_annex(const std::vector<std::string>& tops) {
  ManagerOptions options{size(), environment_};
  std::erase_if(options.environment.preload,
                [&](const std::string& name) { return std::ranges::find(tops, name.substr(0, name.find('.'))) != tops.end(); });
  Result<std::shared_ptr<ManagerCore>> annex = create(std::move(options));
  if (!annex) return annex;
  // Nobody else has it yet, so its interpreters are free.
  std::unique_lock lock(annexes_mutex_);
  for (std::size_t done = 0; done < registered_modules_.size(); ++done) {
    const auto [name, source] = registered_modules_[done];
    lock.unlock();
    if (Result<void> registered = (*annex)->register_module(name, source); !registered) return registered.failure();
    lock.lock();
  }
  std::erase_if(annexes_, [](const auto& each) { return each.expired(); });
  annexes_.push_back(*annex);
  lock.unlock();
  if (closed_) (void)(*annex)->close();
  return annex;
}

std::vector<std::shared_ptr<ManagerCore>> ManagerCore::annexes() const {
  const std::scoped_lock lock(annexes_mutex_);
  return live(annexes_);
}

bool ManagerCore::held() const {
  const std::vector<std::shared_ptr<ManagerCore>> sets = annexes();
  return gate_->held() || std::ranges::any_of(sets, [](const auto& annex) { return annex->held(); });
}

// Those that are gone are looked for whenever there are twice as many as the last time.
void ManagerCore::add_holder(std::weak_ptr<ReferenceHolder> holder) {
  const std::scoped_lock lock(holders_mutex_);
  holders_.push_back(std::move(holder));
  if (holders_.size() < 2 * swept_ + 16) return;
  std::erase_if(holders_, [](const auto& each) { return each.expired(); });
  swept_ = holders_.size();
}

void ManagerCore::add_package(std::uint64_t id, const std::shared_ptr<PackageCore>& package) {
  const std::scoped_lock lock(packages_mutex_);
  std::erase_if(packages_, [](const auto& entry) { return entry.second.expired(); });
  packages_.emplace(id, package);
}

std::shared_ptr<PackageCore> ManagerCore::find_package(std::uint64_t id) const {
  const std::scoped_lock lock(packages_mutex_);
  const auto found = packages_.find(id);
  return found == packages_.end() ? nullptr : found->second.lock();
}

std::shared_ptr<PackageCore> ManagerCore::find_package(const PackageFile& file) const {
  std::unique_lock lock(packages_mutex_);
  for (const auto& [id, weak] : packages_) {
    if (std::shared_ptr<PackageCore> package = weak.lock(); package && package->file().is_same(file)) return package;
  }
  lock.unlock();
  for (const std::shared_ptr<ManagerCore>& annex : annexes()) {
    if (std::shared_ptr<PackageCore> package = annex->find_package(file)) return package;
  }
  return nullptr;
}

}  // namespace deploy::detail
