#include "bindings/exit.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include "bindings/deferred.h"
#include "bindings/exports.h"
#include "bindings/gil.h"

namespace deploy::bindings {

namespace {

// The bindings' process-wide state; never destroyed, because threads may outlive the static destructors.
struct State {
  std::atomic<bool> exiting = false;
  std::atomic<std::thread::id> exit_thread = {};
  std::atomic<int> in_use = 0;
  std::atomic<int> returning = 0;
  std::mutex mutex;
  std::vector<std::weak_ptr<ShutDown>> live;  // guarded by mutex
};

State& state() {
  static std::atomic<State*>* const current = [] {
    static std::atomic<State*> made = new State;
    pthread_atfork(nullptr, nullptr, [] { made = new State; });
    return &made;
  }();
  return *current->load(std::memory_order_relaxed);
}

thread_local int released_depth = 0;

// Code inside a call has forked, and the call returns in the child: the host's Python has not been told. Another thread of the
// parent may have held its GIL.
void tell_of_fork([[maybe_unused]] PyThreadState* state) {
#if PY_VERSION_HEX < 0x030C0000
  PyThreadState_Swap(state);
  PyOS_AfterFork_Child();
  PyEval_SaveThread();
#endif
}

void exit_hook() {
  State& s = state();
  s.exit_thread = std::this_thread::get_id();
  s.exiting = true;  // set with the GIL held, so every call that started later sees it
  drain_deferred();
  {
    nb::gil_scoped_release release;
    while (s.returning != 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  if (s.in_use != 0) return;
  std::vector<std::weak_ptr<ShutDown>> live;
  {
    std::lock_guard lock(s.mutex);
    live.swap(s.live);
  }
  for (const auto& each : live) {
    if (auto what = each.lock()) what->shut_down();
  }
}

}  // namespace

bool exiting() noexcept { return state().exiting; }
bool is_exit_thread() noexcept { return state().exit_thread.load() == std::this_thread::get_id(); }
bool gil_is_released_here() noexcept { return released_depth != 0; }

void shut_down_at_exit(const std::shared_ptr<ShutDown>& what) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  std::erase_if(s.live, [](const auto& each) { return each.expired(); });
  s.live.push_back(what);
}

InUse::InUse() noexcept : count_(state().in_use) { ++count_; }
InUse::~InUse() { --count_; }
bool InUse::is_parents() const noexcept { return &count_ != &state().in_use; }
Returning::Returning() noexcept : count_(state().returning) { ++count_; }
Returning::~Returning() { --count_; }

GilRelease::GilRelease() {
  if (exiting() && !is_exit_thread()) {
    PyEval_SaveThread();
    for (;;) pause();
  }
  in_use_.emplace();
  ++released_depth;
  state_ = PyEval_SaveThread();
}

GilRelease::~GilRelease() {
  {
    Returning returning;
    if (!exiting() || is_exit_thread()) {
      if (in_use_->is_parents()) tell_of_fork(state_);
      PyEval_RestoreThread(state_);
      --released_depth;
      in_use_.reset();
      drain_deferred();
      return;
    }
  }
  for (;;) pause();
}

void export_exit(nb::module_& m) {
  m.def("_exit_hook", &exit_hook);
  nb::module_::import_("atexit").attr("register")(m.attr("_exit_hook"));
}

}  // namespace deploy::bindings
