#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "lib/interpreter/abi.h"

namespace deploy::detail {

// What the host gave up while it was not inside the interpreter, and the interpreter has to give back: object references, tensors, thread states of
// threads that have ended. Putting something in never blocks on the interpreter. It is emptied at the begin and the end of
// every session, and by the home thread a few milliseconds later where no session comes.
//
// Thread-safe.
class ReleaseQueue {
 public:
  void push(deploy_object object);
  void push(DLManagedTensorVersioned* tensor);
  void push(deploy_thread thread);

  bool empty() const { return !pending_.load(std::memory_order_acquire); }

  // Gives everything back. On a thread that is attached to the interpreter.
  void drain(const deploy_guest& guest);

  // For the home thread: waits until there is something, or until wake() is called.
  void wait();
  void wake();

 private:
  struct Items {
    std::vector<deploy_object> objects;
    std::vector<DLManagedTensorVersioned*> tensors;
    std::vector<deploy_thread> threads;
  };
  template <class T>
  void add(std::vector<T> Items::* list, T item);

  std::atomic<bool> pending_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  Items items_;             // guarded by mutex_
  Items draining_;          // of the thread that is attached; kept for its capacity
  bool sleeping_ = false;   // guarded by mutex_: the home thread is in wait()
  bool awake_ = false;      // guarded by mutex_: wake() was called
};

}  // namespace deploy::detail
