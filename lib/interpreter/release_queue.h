#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "lib/interpreter/abi.h"
#include "lib/interpreter/deadline.h"
#include "lib/support/forks.h"

namespace deploy::detail {

struct ThreadEntry;

// What the host gave up and the interpreter has to give back: object references, tensors, thread states of threads that have ended.
// A thread inside a session of the interpreter gives back at once. All others, and guest code (which may have released the GIL),
// put it into this queue, which never blocks on the interpreter. It is emptied at the begin and the end of every session, and by
// the home thread a few milliseconds later where no session comes. It outlives the interpreter, then discarding what it gets. So it
// does in a process that was forked from the one that made it, except inside a session that went on there.
//
// Thread-safe, except where a comment says otherwise.
class ReleaseQueue {
 public:
  // `slot` and `core_id`: the interpreter's Identity (process.h).
  ReleaseQueue(std::size_t slot, std::size_t core_id) : slot_(slot), core_id_(core_id), process_(this_process()) {}
  ReleaseQueue(const ReleaseQueue&) = delete;
  ReleaseQueue& operator=(const ReleaseQueue&) = delete;

  void give_back(deploy_object object);
  void give_back(DLManagedTensorVersioned* tensor);
  void give_back(deploy_thread thread);

  bool empty() const { return !pending_.load(std::memory_order_acquire) || process_ != this_process(); }

  // Before anything is given back.
  void start(const deploy_guest& guest) { guest_ = &guest; }
  // Gives everything back. On a thread that is attached to the interpreter and holds its seat; `thread` is its entry.
  void drain(ThreadEntry& thread);
  // From here on the calling thread gives tensors back at once: it finalises Python and holds its GIL.
  void finalising();
  // After Python's end.
  void close();

  // For the home thread. wait_for_work sleeps until something is in the queue and a moment has passed in which a session could
  // have emptied it, or until wake() was called or `until` has come; false: stop() was called.
  bool wait_for_work(Deadline until);
  void wake();
  void stop();

 private:
  struct Items {
    std::vector<deploy_object> objects;
    std::vector<DLManagedTensorVersioned*> tensors;
    std::vector<deploy_thread> threads;
  };
  template <class T>
  void add(std::vector<T> Items::* list, T item);
  ThreadEntry* entry_inside() const;

  const std::size_t slot_, core_id_;
  const std::uint64_t process_;
  const deploy_guest* guest_ = nullptr;
  std::atomic<std::uint64_t> finalising_thread_ = 0;
  std::atomic<bool> pending_ = false;
  Items draining_;  // of the thread that holds the seat; kept for its capacity

  std::mutex mutex_;
  std::condition_variable changed_;
  Items items_;            // guarded by mutex_, as all below
  bool sleeping_ = false;  // the home thread, until something comes
  bool woken_ = false;
  bool stopped_ = false;
  bool closed_ = false;
};

}  // namespace deploy::detail
