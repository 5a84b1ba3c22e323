#include "lib/interpreter/interpreter_core.h"

#include <malloc.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>

#include "lib/interpreter/environment.h"
#include "lib/interpreter/image.h"
#include "lib/interpreter/marshal.h"
#include "lib/interpreter/process.h"
#include "lib/interpreter/session_core.h"
#include "lib/loader/heap/heap.h"
#include "lib/loader/host_thread.h"
#include "lib/loader/shared_libraries.h"
#include "lib/support/system_refusal.h"

namespace deploy::detail {

Result<std::shared_ptr<InterpreterCore>> InterpreterCore::create(InterpreterOptions options) {
  return or_system_refusal([&] { return create_or_throw(std::move(options)); });
}

Result<std::shared_ptr<InterpreterCore>> InterpreterCore::create_or_throw(InterpreterOptions options) {
  if (auto checked = check_environment(options.environment); !checked) return checked.failure();
  if (!options.gate) {
    options.gate = std::make_shared<Gate>(1);
    options.seat = 0;
  }
  const Identity identity = new_identity();
  std::shared_ptr<InterpreterCore> core(new InterpreterCore(std::move(options), identity.id, identity.slot), &retire);
  try {
    core->home_ = std::thread(&InterpreterCore::home_main, core.get());
  } catch (const std::system_error& error) {
    return Failure{ErrorCode::kSystem, "no thread for interpreter " + std::to_string(identity.id) + ": " + error.what()};
  }
  std::unique_lock lock(core->mutex_);
  core->started_changed_.wait(lock, [&] { return core->started_.has_value(); });
  const Result<void> started = *core->started_;
  lock.unlock();
  if (!started) return started.failure();
  return core;
}

InterpreterCore::InterpreterCore(InterpreterOptions options, std::size_t id, std::size_t slot)
    : id_(id),
      slot_(slot),
      seat_(options.seat),
      environment_(std::move(options.environment)),
      value_limits_(deploy::detail::value_limits(environment_)),
      gate_(std::move(options.gate)),
      manager_(std::move(options.manager)),
      releases_(std::make_shared<ReleaseQueue>(slot, id)),
      interruption_(std::make_shared<Interruption>(releases_)) {}

InterpreterCore::~InterpreterCore() { free_slot(slot_); }

// The last reference is gone. The home thread deletes the core when all is torn down.
void InterpreterCore::retire(InterpreterCore* core) {
  if (core->is_foreign()) return;
  std::thread home = std::move(core->home_);
  if (!home.joinable()) {  // it never started
    delete core;
    return;
  }
  const bool wait = may_block() && home.get_id() != std::this_thread::get_id();
  if (!wait) begin_background_teardown();
  core->background_ = !wait;
  const std::shared_ptr<ReleaseQueue> releases = core->releases_;  // `core` may be gone as soon as it is told
  releases->stop();
  if (wait) {
    home.join();
    loader::leave_kept_libraries(kThreadsMayTake);
  } else {
    home.detach();
  }
}

void InterpreterCore::home_main() {
  pthread_setname_np(pthread_self(), ("deploy-" + std::to_string(id_)).c_str());
  loader::become_own_thread();
  ArithmeticState().load();  // not that of the thread which creates the interpreter
  const MustNotBlock scope;  // two interpreters that are torn down must not wait for each other
  Result<void> started = or_system_refusal([this] { return start(); });
  if (is_foreign()) return;  // code of the preload forked: its thread ends, and with it the child
  {
    std::lock_guard lock(mutex_);
    started_ = std::move(started);
    started_changed_.notify_all();
  }
  serve();
  if (!is_foreign()) stop();
  if (is_foreign()) return;
  const bool background = background_;
  delete this;
  if (background) end_background_teardown();
}

Result<void> InterpreterCore::start() {
  const auto step = [this](Result<void> result) -> Result<void> {
    if (result) return result;
    return std::move(result.failure()).within("interpreter " + std::to_string(id_));
  };
  if (auto loaded = step(load_guest()); !loaded) return loaded;
  if (auto booted = step(boot()); !booted) return booted;
  return preload();
}

namespace {

constexpr std::chrono::milliseconds kMemoryMayCome{20};

struct SeatRelease {
  Gate& gate;
  std::size_t seat;
  ~SeatRelease() { gate.release(seat); }
};

}  // namespace

Result<void> InterpreterCore::load_guest() {
  const auto image = Image::get();
  if (!image) return image.failure();
  loader::NamespaceOptions options;
  options.name = "interpreter-" + std::to_string(id_);
  options.policy = link_policy(environment_);
  options.allocator = Image::kAllocatorPath;
  // jemalloc's, which pyarrow brings along: no destructor stops it.
  options.cancelled_threads = {"jemalloc_bg_thd"};
  options.memory_limit = environment_.memory_limit;
  // MKL, inside libtorch, keeps its buffers (2 MB) for each thread that ever multiplied matrices; without that it asks malloc at
  // each call, which here costs nothing and is for all threads. A heap with a limit keeps nothing, so there such buffers would be
  // fresh pages each time. Where a user has set the variable, that holds.
  if (environment_.memory_limit == 0) options.default_variables = {{"MKL_DISABLE_FAST_MM", "1"}};
  options.embedded = [image = *image](std::string_view path) { return image->find(path); };
  auto created = loader::Namespace::create(std::move(options));
  if (!created) return created.failure();
  namespace_ = *std::move(created);
  namespace_->enter_thread();

  auto library = namespace_->load(std::string(Image::kGuestPath), loader::Visibility::kGlobal);
  if (!library) return library.failure();
  auto entry = namespace_->symbol(*library, "deploy_guest_entry");
  if (!entry) return entry.failure();
  host_ = {
      .abi_version = DEPLOY_ABI_VERSION,
      .size = sizeof(deploy_host),
      .context = &namespace_->heap(),
      .allocate_arena = [](void* heap, std::size_t size) { return static_cast<loader::Heap*>(heap)->allocate(size); },
      .free_arena = [](void* heap, void* arena, std::size_t size) { static_cast<loader::Heap*>(heap)->free(arena, size); },
      .allocate_reserve = [](std::size_t size) { return std::malloc(size); },
      .exempt =
          [](void* context, int begin) {
            auto* heap = static_cast<loader::Heap*>(context);
            begin ? heap->begin_exemption() : heap->end_exemption();
          },
      .has_private_heap = namespace_->has_private_allocator(),
      .write_line = environment_.on_output ? &InterpreterCore::write_line : nullptr,
      .output_context = this,
  };
  const deploy_guest* guest = reinterpret_cast<deploy_guest_entry_fn>(*entry)(&host_);
  if (!guest || guest->abi_version != DEPLOY_ABI_VERSION || guest->size != sizeof(deploy_guest)) {
    return Failure{ErrorCode::kInternal, "the embedded image and libdeploy were built from different versions of abi.h"};
  }
  guest_ = guest;
  releases_->start(*guest);
  return {};
}

Result<void> InterpreterCore::boot() {
  std::vector<deploy_text> paths;
  for (const std::string& path : environment_.extra_paths) paths.push_back(text(path));
  for (const std::string& path : environment_.site_packages) paths.push_back(text(path));
  const auto stdlib = (*Image::get())->stdlib();
  deploy_boot boot = {};
  boot.stdlib = {reinterpret_cast<const char*>(stdlib.data()), stdlib.size()};
  boot.paths = paths.data();
  boot.path_count = paths.size();
  boot.interpreter_id = id_;
  boot.deferred_imports = environment_.deferred_imports;
  boot.first_site = environment_.extra_paths.size();
  ErrorSink error;
  if (guest_->boot(&boot, &error) < 0) return error.take();
  booted_ = true;
  return {};
}

// Nobody else knows the interpreter yet, so the home thread needs no seat.
Result<void> InterpreterCore::preload() {
  if (environment_.preload.empty()) return {};
  ThreadEntry& thread = thread_entry(*this);
  if (auto attached = attach(*this, thread); !attached) return attached;
  Result<void> done;
  for (const std::string& name : environment_.preload) {
    auto module = Guest(*this, thread).import_module(name);
    if (!module) {
      done = std::move(module.failure()).within("preload of \"" + name + "\"");
      break;
    }
  }
  guest_->freeze();
  detach(*this, thread);
  return done;
}

// Stops calls, and gives back what no session came to give back. For the latter it never waits for the interpreter: a session that
// holds it empties the queue itself.
void InterpreterCore::serve() {
  while (!is_foreign() && releases_->wait_for_work(interruption_->next_look())) {
    // What finds no memory is done when there is some.
    const auto done = or_system_refusal([this]() -> Result<void> { return serve_once(), Result<void>(); });
    if (!done) std::this_thread::sleep_for(kMemoryMayCome);
  }
}

void InterpreterCore::serve_once() {
  if (interruption_->is_due()) {
    const deploy_thread main = guest_->thread_attach(nullptr);  // beside the session: not attach(), which empties the queue
    interruption_->deliver(*guest_);
    guest_->thread_detach(main);
  }
  if (releases_->empty() || !gate_->try_acquire(seat_)) return;
  const SeatRelease release{*gate_, seat_};
  ThreadEntry& thread = thread_entry(*this);
  if (attach(*this, thread)) detach(*this, thread);
}

void InterpreterCore::stop() {
  if (booted_) {
    const auto emptied = or_system_refusal([this]() -> Result<void> {
      ThreadEntry& thread = thread_entry(*this);
      if (attach(*this, thread)) detach(*this, thread);
      return {};
    });
    static_cast<void>(emptied);  // what is still in the queue goes with the interpreter
    releases_->finalising();
    ErrorSink error;  // Python has printed what it has to say
    guest_->shutdown(&error);
    if (is_foreign()) return;
  }
  releases_->close();
  if (namespace_) {
    const auto ended = or_system_refusal([this] { return namespace_->end(kThreadsMayTake); });
    const auto noted = or_system_refusal([&]() -> Result<void> {
      if (!ended) note_stranded({id_, ended.failure().message});
      return {};
    });
    static_cast<void>(noted);
  }
  namespace_.reset();
  loader::leave_kept_libraries(kThreadsMayTake);
  malloc_trim(0);  // glibc keeps what was freed in the heaps of the threads that allocated it: with torch a hundred megabytes
}

void InterpreterCore::leave_to_thread_end(std::uint64_t serial) {
  if (is_foreign()) return;
  std::lock_guard lock(mutex_);
  if (std::erase(ended_, serial) == 0) orphans_.emplace_back(serial, shared_from_this());
}

void InterpreterCore::thread_ended(ThreadEntry& thread) {
  if (is_foreign()) return;
  std::vector<std::shared_ptr<InterpreterCore>> kept;  // dropped after the lock
  {
    std::lock_guard lock(mutex_);
    for (const std::uint64_t serial : thread.open) {
      const auto orphan = std::ranges::find(orphans_, serial, [](const auto& each) { return each.first; });
      if (orphan == orphans_.end()) {
        ended_.push_back(serial);
      } else {
        kept.push_back(std::move(orphan->second));
        orphans_.erase(orphan);
      }
    }
  }
  for (; !thread.open.empty(); thread.open.pop_back()) {
    detach(*this, thread);
    gate_->release(seat_);
  }
  releases_->give_back(thread.state);
}

}  // namespace deploy::detail
