#include "lib/interpreter/release_queue.h"

#include <dlpack/dlpack.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "lib/interpreter/process.h"

// The queue alone, with a guest that only counts. `ctest --preset tsan` looks at the same under ThreadSanitizer.

namespace deploy::detail {

namespace {

constexpr int kThreads = 4, kEach = 5000;

std::atomic<int> released_objects, disposed_threads, destroyed_tensors;

deploy_guest counting_guest() {
  released_objects = disposed_threads = destroyed_tensors = 0;
  deploy_guest guest{};
  guest.release = [](deploy_object) { ++released_objects; };
  guest.thread_dispose = [](deploy_thread) { ++disposed_threads; };
  return guest;
}

template <class T>
T handle(int n) {
  return reinterpret_cast<T>(static_cast<std::uintptr_t>(n) + 1);
}

DLManagedTensorVersioned counted_tensor() {
  DLManagedTensorVersioned tensor{};
  tensor.deleter = [](DLManagedTensorVersioned*) { ++destroyed_tensors; };
  return tensor;
}

// `kThreads` threads give back `kEach` of everything.
class Givers {
 public:
  explicit Givers(ReleaseQueue& queue) : tensors_(kThreads * kEach, counted_tensor()) {
    for (int t = 0; t < kThreads; ++t) {
      threads_.emplace_back([this, &queue, t] {
        for (int i = 0; i < kEach; ++i) {
          queue.give_back(handle<deploy_object>(i));
          queue.give_back(&tensors_[static_cast<std::size_t>(t * kEach + i)]);
          if (i % 100 == 0) queue.give_back(handle<deploy_thread>(i));
        }
      });
    }
  }
  void join() {
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  std::vector<DLManagedTensorVersioned> tensors_;
  std::vector<std::thread> threads_;
};

TEST(ReleaseQueueTest, WhatManyThreadsGiveBackIsReleasedOnceWhileOthersDrainAndTheHomeThreadWaits) {
  const deploy_guest guest = counting_guest();
  ReleaseQueue queue(0, 0);
  queue.start(guest);
  std::mutex seat;  // who holds it may drain
  std::atomic<bool> done = false;
  const auto drain = [&] {
    const std::lock_guard held(seat);
    ThreadEntry entry;
    queue.drain(entry);
    EXPECT_EQ(entry.crossings, 0u);
  };
  std::thread home([&] {
    while (queue.wait_for_work(kNoDeadline)) drain();
  });
  std::thread session([&] {
    while (!done) {
      if (!queue.empty()) drain();
      std::this_thread::yield();
    }
  });
  Givers givers(queue);
  for (int i = 0; i < 100; ++i) queue.wake();
  givers.join();
  done = true;
  session.join();
  queue.stop();
  home.join();
  drain();
  EXPECT_EQ(released_objects, kThreads * kEach);
  EXPECT_EQ(destroyed_tensors, kThreads * kEach);
  EXPECT_EQ(disposed_threads, kThreads * kEach / 100);
  EXPECT_TRUE(queue.empty());
}

TEST(ReleaseQueueTest, TheHomeThreadEmptiesItWhereNoSessionComes) {
  const deploy_guest guest = counting_guest();
  ReleaseQueue queue(0, 0);
  queue.start(guest);
  std::thread home([&] {
    ThreadEntry entry;
    while (queue.wait_for_work(kNoDeadline)) queue.drain(entry);
  });
  Givers givers(queue);
  givers.join();
  while (released_objects < kThreads * kEach || destroyed_tensors < kThreads * kEach) std::this_thread::yield();
  queue.stop();
  home.join();
}

TEST(ReleaseQueueTest, AfterTheInterpretersEndWhatIsGivenBackIsForgotten) {
  const deploy_guest guest = counting_guest();
  ReleaseQueue queue(0, 0);
  queue.start(guest);
  std::thread closer([&] { queue.close(); });
  Givers givers(queue);
  givers.join();
  closer.join();
  queue.give_back(handle<deploy_object>(1));
  EXPECT_EQ(released_objects, 0);
}

}  // namespace

}  // namespace deploy::detail
