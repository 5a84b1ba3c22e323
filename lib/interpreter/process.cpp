#include "lib/interpreter/process.h"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

#include "lib/interpreter/interpreter_core.h"
#include "lib/loader/host_thread.h"
#include "lib/loader/shared_libraries.h"
#include "lib/support/forks.h"

namespace deploy::detail {

namespace {

// Never destroyed: threads outlive static destructors.
struct Process {
  ForkLock mutex;
  std::size_t next_id = 0;  // guarded by mutex, as all below
  std::vector<bool> slots;  // taken?
  std::uint64_t number = this_process();
  std::size_t teardowns = 0;  // in the background
  std::condition_variable_any no_teardowns;
  bool waits_at_exit = false;
  std::vector<StrandedInterpreter> stranded;
};

Process& process() {
  static Process* const instance = [] {
    auto* made = new Process;
    hold_in_forks(made->mutex);
    return made;
  }();
  return *instance;
}

// A forked process has no part in what its parent tears down.
void forget_parent(Process& all) {
  if (std::exchange(all.number, this_process()) == this_process()) return;
  all.teardowns = 0;
  new (&all.no_teardowns) std::condition_variable_any;  // it knows waiters that are not there
  all.stranded.clear();
}

void wait_for_teardowns() {
  std::unique_lock lock(process().mutex);
  forget_parent(process());
  process().no_teardowns.wait(lock, [] { return process().teardowns == 0; });
}

using ThreadTable = std::vector<std::unique_ptr<ThreadEntry>>;  // by slot

// Plain pointers and numbers, which may still be read while the thread's destructors run.
thread_local ThreadTable* table = nullptr;
thread_local std::uint64_t number = 0;
thread_local int attached = 0;
thread_local int must_not_block = 0;
thread_local const OutputScope* output_scope = nullptr;

struct TableOwner {
  ~TableOwner() {
    const MustNotBlock scope;
    const std::unique_ptr<ThreadTable> ending(std::exchange(table, nullptr));
    if (!ending) return;
    for (const auto& entry : *ending) {
      if (!entry || !entry->state) continue;
      if (const auto core = entry->core.lock()) core->thread_ended(*entry);
    }
  }
};

ThreadTable& own_table() {
  if (!table) {
    static thread_local TableOwner owner;
    static_cast<void>(owner);
    table = new ThreadTable;
  }
  return *table;
}

}  // namespace

std::uint64_t this_thread_number() noexcept {
  static std::atomic<std::uint64_t> last = 0;
  if (number == 0) number = ++last;
  return number;
}

Failure forked_failure() {
  return {ErrorCode::kClosed,
          "this process was forked from the one that made the interpreter; it has to make interpreters of its own (a process that "
          "is forked inside a call goes on there)"};
}

Identity new_identity() {
  Process& all = process();
  std::lock_guard lock(all.mutex);
  std::size_t slot = 0;
  while (slot < all.slots.size() && all.slots[slot]) ++slot;
  if (slot == all.slots.size()) all.slots.push_back(false);
  all.slots[slot] = true;
  return {all.next_id++, slot};
}

void free_slot(std::size_t slot) {
  std::lock_guard lock(process().mutex);
  process().slots[slot] = false;
}

ThreadEntry& thread_entry(InterpreterCore& core) {
  ThreadTable& own = own_table();
  if (own.size() <= core.slot()) own.resize(core.slot() + 1);
  auto& entry = own[core.slot()];
  // Another interpreter's entry is of one that is gone, and its thread state with it.
  if (!entry || entry->core_id != core.id()) {
    entry = std::make_unique<ThreadEntry>();
    entry->core_id = core.id();
    entry->core = core.weak_from_this();
    entry->process = core.process();
  }
  return *entry;
}

ThreadEntry* find_thread_entry(std::size_t slot, std::size_t core_id) noexcept {
  if (!table || slot >= table->size()) return nullptr;
  ThreadEntry* entry = (*table)[slot].get();
  return entry && entry->core_id == core_id ? entry : nullptr;
}

void note_attached(int change) noexcept {
  attached += change;
  attached > 0 ? loader::enter_host_thread() : loader::leave_host_thread();
}
bool may_block() noexcept { return attached == 0 && must_not_block == 0; }
MustNotBlock::MustNotBlock() noexcept { ++must_not_block; }
MustNotBlock::~MustNotBlock() { --must_not_block; }

OutputScope::OutputScope(const InterpreterCore& core) noexcept : core_(core), outer_(std::exchange(output_scope, this)) {}
OutputScope::~OutputScope() { output_scope = outer_; }

bool OutputScope::is_open(const InterpreterCore& core) noexcept {
  const OutputScope* scope = output_scope;
  while (scope && &scope->core_ != &core) scope = scope->outer_;
  return scope != nullptr;
}

void note_stranded(StrandedInterpreter interpreter) {
  std::lock_guard lock(process().mutex);
  forget_parent(process());
  process().stranded.push_back(std::move(interpreter));
}

void begin_background_teardown() {
  Process& all = process();
  std::lock_guard lock(all.mutex);
  forget_parent(all);
  ++all.teardowns;
  if (!std::exchange(all.waits_at_exit, true)) std::atexit(wait_for_teardowns);
}

void end_background_teardown() {
  Process& all = process();
  std::lock_guard lock(all.mutex);
  if (--all.teardowns == 0) all.no_teardowns.notify_all();
}

}  // namespace deploy::detail

namespace deploy {

std::vector<StrandedInterpreter> stranded_interpreters() {
  std::lock_guard lock(detail::process().mutex);
  detail::forget_parent(detail::process());
  return detail::process().stranded;
}

std::vector<KeptLibrary> kept_libraries() {
  std::vector<KeptLibrary> list;
  for (loader::KeptLibrary& each : loader::kept_libraries()) list.push_back({std::move(each.path), each.threads});
  return list;
}

}  // namespace deploy
