#include "lib/interpreter/release_queue.h"

#include <dlpack/dlpack.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "lib/interpreter/process.h"

namespace deploy::detail {

namespace {

// How long the home thread leaves the queue to the next session. While a client calls in a loop it costs a wake-up per this time.
constexpr std::chrono::milliseconds kSweepDelay{10};

void destroy(DLManagedTensorVersioned* tensor) {
  if (tensor->deleter) tensor->deleter(tensor);
}

}  // namespace

// The calling thread's entry where it holds the GIL: inside a session, but not below guest code, which may have released it.
ThreadEntry* ReleaseQueue::entry_inside() const {
  ThreadEntry* entry = find_thread_entry(slot_, core_id_);
  return entry && entry->depth > 0 && entry->crossings == 0 && entry->process == this_process() ? entry : nullptr;
}

void ReleaseQueue::give_back(deploy_object object) {
  ThreadEntry* entry = entry_inside();
  if (!entry) return add(&Items::objects, object);
  ++entry->crossings;
  guest_->release(object);
  --entry->crossings;
}

void ReleaseQueue::give_back(DLManagedTensorVersioned* tensor) {
  if (ThreadEntry* entry = entry_inside()) {
    ++entry->crossings;
    destroy(tensor);
    --entry->crossings;
  } else if (finalising_thread_.load(std::memory_order_relaxed) == this_thread_number()) {
    destroy(tensor);
  } else {
    add(&Items::tensors, tensor);
  }
}

void ReleaseQueue::give_back(deploy_thread thread) { add(&Items::threads, thread); }

template <class T>
void ReleaseQueue::add(std::vector<T> Items::* list, T item) {
  if (process_ != this_process()) return;
  std::lock_guard lock(mutex_);
  if (closed_) return;
  (items_.*list).push_back(item);
  pending_.store(true, std::memory_order_release);
  if (std::exchange(sleeping_, false)) changed_.notify_one();
}

void ReleaseQueue::drain(ThreadEntry& thread) {
  {
    std::lock_guard lock(mutex_);
    std::swap(items_, draining_);
    pending_.store(false, std::memory_order_release);
  }
  ++thread.crossings;  // what __del__ gives back in turn goes into the queue
  for (DLManagedTensorVersioned* tensor : draining_.tensors) destroy(tensor);
  for (deploy_object object : draining_.objects) guest_->release(object);
  for (deploy_thread state : draining_.threads) guest_->thread_dispose(state);
  --thread.crossings;
  draining_.tensors.clear();
  draining_.objects.clear();
  draining_.threads.clear();
}

void ReleaseQueue::finalising() { finalising_thread_ = this_thread_number(); }

void ReleaseQueue::close() {
  std::lock_guard lock(mutex_);
  finalising_thread_ = 0;
  closed_ = true;
  items_ = {};
}

bool ReleaseQueue::wait_for_work(Deadline until) {
  std::unique_lock lock(mutex_);
  const auto called = [this] { return stopped_ || woken_; };
  do {
    sleeping_ = empty();
    const auto anything = [&] { return called() || !sleeping_; };
    if (until == kNoDeadline) {
      changed_.wait(lock, anything);
    } else if (!changed_.wait_until(lock, until, anything)) {
      break;
    }
    changed_.wait_until(lock, std::min(until, deadline_after(kSweepDelay)), called);
  } while (!called() && empty() && !has_passed(until));
  sleeping_ = false;
  woken_ = false;
  return !stopped_;
}

void ReleaseQueue::wake() {
  std::lock_guard lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

void ReleaseQueue::stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

}  // namespace deploy::detail
