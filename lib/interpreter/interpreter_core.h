#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "deploy/environment.h"
#include "lib/interpreter/abi.h"
#include "lib/interpreter/gate.h"
#include "lib/interpreter/interruption.h"
#include "lib/interpreter/release_queue.h"
#include "lib/loader/namespace.h"
#include "lib/support/forks.h"
#include "lib/support/result.h"

namespace deploy::detail {

class ManagerCore;
struct ThreadEntry;  // process.h

// How long threads that libraries started have to end, once they have been told to.
inline constexpr std::chrono::milliseconds kThreadsMayTake{2000};

struct InterpreterOptions {
  Environment environment = {};
  std::shared_ptr<Gate> gate = {};  // null: a gate of its own, with one seat
  std::size_t seat = 0;
  std::weak_ptr<ManagerCore> manager = {};  // of an interpreter that belongs to one; its index there is `seat`
};

// One Python in one link namespace, and the thread that is its main thread.
//
// The home thread loads the image, boots Python, imports the environment's preload modules, and then sleeps. It wakes up to give
// back what the host dropped outside of sessions (ReleaseQueue), to stop calls (Interruption), and at last to finalise Python and
// unload the namespace.
//
// Lifetime: everything that points into the interpreter's memory (sessions, tensors that came out of it) holds a shared_ptr. When
// the last one is gone the home thread tears the interpreter down. Whoever dropped the last one waits for that, unless it may not
// block: inside a session of any interpreter, or while a tensor is being released.
class InterpreterCore : public std::enable_shared_from_this<InterpreterCore> {
 public:
  // Checks the environment, loads and boots. Takes 10-30 ms and the preload. Any thread; several may run at once.
  static Result<std::shared_ptr<InterpreterCore>> create(InterpreterOptions options);

  InterpreterCore(const InterpreterCore&) = delete;
  InterpreterCore& operator=(const InterpreterCore&) = delete;

  // In a process that was forked from the one that made it, an interpreter has no threads, and locks of its may be shut for ever:
  // it is left alone there, except by a thread that was forked inside a call, and never torn down.
  std::uint64_t process() const { return process_; }
  bool is_foreign() const { return process_ != this_process(); }

  std::size_t id() const { return id_; }      // unique in the process, counts from 0
  std::size_t seat() const { return seat_; }  // and index in the manager
  Gate& gate() const { return *gate_; }
  const Environment& environment() const { return environment_; }
  const ValueLimits& value_limits() const { return value_limits_; }
  std::shared_ptr<ManagerCore> manager() const { return manager_.lock(); }

  // For the layers above sessions only: the guest's functions, and the namespace, of a booted interpreter.
  const deploy_guest& guest() const { return *guest_; }
  loader::Namespace& link_namespace() const { return *namespace_; }
  const std::shared_ptr<ReleaseQueue>& releases() const { return releases_; }
  const std::shared_ptr<Interruption>& interruption() const { return interruption_; }

  // Place of this interpreter in the threads' tables (process.h); reused after it is gone.
  std::size_t slot() const { return slot_; }

  // For sessions: a number for a new one. On the thread that holds the seat.
  std::uint64_t next_serial() { return ++last_serial_; }
  // A session was closed on another thread than its own, or its thread ended before it was closed: whichever comes second ends it.
  void leave_to_thread_end(std::uint64_t serial);
  void thread_ended(ThreadEntry& thread);

 private:
  InterpreterCore(InterpreterOptions options, std::size_t id, std::size_t slot);
  ~InterpreterCore();

  static Result<std::shared_ptr<InterpreterCore>> create_or_throw(InterpreterOptions options);
  static void retire(InterpreterCore* core);  // the shared_ptr's deleter
  void home_main();
  Result<void> start();
  Result<void> load_guest();
  Result<void> boot();
  Result<void> preload();
  void serve();
  void serve_once();
  void stop();
  static void write_line(void* self, std::int32_t stream, deploy_text line, int complete) noexcept;  // output.cpp

  const std::uint64_t process_ = this_process();
  const std::size_t id_, slot_, seat_;
  const Environment environment_;
  const ValueLimits value_limits_;
  const std::shared_ptr<Gate> gate_;
  const std::weak_ptr<ManagerCore> manager_;

  deploy_host host_ = {};
  std::unique_ptr<loader::Namespace> namespace_;
  const deploy_guest* guest_ = nullptr;
  bool booted_ = false;
  bool background_ = false;  // torn down with nobody waiting; written before the home thread is told to stop
  const std::shared_ptr<ReleaseQueue> releases_;
  const std::shared_ptr<Interruption> interruption_;
  std::uint64_t last_serial_ = 0;

  std::thread home_;
  std::mutex mutex_;
  std::condition_variable started_changed_;
  std::optional<Result<void>> started_;                                              // guarded by mutex_, as all below
  std::vector<std::pair<std::uint64_t, std::shared_ptr<InterpreterCore>>> orphans_;  // closed elsewhere, their thread goes on
  std::vector<std::uint64_t> ended_;                                                 // their thread ended, they were not closed
};

// A strong reference to a Python object, for as long as the holder likes: it does not keep the interpreter alive, and dropping it
// never blocks.
class Reference {
 public:
  Reference() = default;
  // Takes over a reference that the guest gave.
  Reference(std::shared_ptr<ReleaseQueue> releases, deploy_object object) : releases_(std::move(releases)), object_(object) {}
  Reference(Reference&& other) noexcept : releases_(std::move(other.releases_)), object_(std::exchange(other.object_, nullptr)) {}
  Reference& operator=(Reference&& other) noexcept {
    std::swap(releases_, other.releases_);
    std::swap(object_, other.object_);
    return *this;
  }
  ~Reference() {
    if (object_) releases_->give_back(object_);
  }

  explicit operator bool() const { return object_ != nullptr; }
  // To be used only in a session of its interpreter.
  deploy_object get() const { return object_; }

 private:
  std::shared_ptr<ReleaseQueue> releases_;
  deploy_object object_ = nullptr;
};

}  // namespace deploy::detail
