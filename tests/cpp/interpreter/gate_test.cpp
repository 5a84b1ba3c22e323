#include "lib/interpreter/gate.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

namespace deploy::detail {
namespace {

using namespace std::chrono_literals;

// Until `thread`, which was just started, surely waits at the gate.
void let_it_wait() { std::this_thread::sleep_for(30ms); }

TEST(Gate, SeatIsReentrantAndFreedWithTheLastRelease) {
  Gate gate(1);
  ASSERT_TRUE(gate.acquire(0));
  ASSERT_TRUE(gate.acquire(0));
  EXPECT_EQ(gate.held(), 0u);
  gate.release(0);
  bool free = true;
  std::thread([&] { free = gate.try_acquire(0); }).join();
  EXPECT_FALSE(free);
  gate.release(0);
  EXPECT_EQ(gate.held(), std::nullopt);
  std::thread([&] {
    free = gate.try_acquire(0);
    if (free) gate.release(0);
  }).join();
  EXPECT_TRUE(free);
}

TEST(Gate, ThreadGetsTheSeatItUsedLast) {
  Gate gate(3);
  std::size_t first = 9, again = 9, other = 9;
  first = *gate.acquire_any();
  gate.release(first);
  std::thread([&] {
    other = *gate.acquire_any();
    gate.release(other);
  }).join();
  again = *gate.acquire_any();
  gate.release(again);
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
}

TEST(Gate, TakingASeatInPassingDoesNotChangeWhoPrefersIt) {
  Gate gate(2);
  const std::size_t mine = *gate.acquire_any();
  gate.release(mine);
  std::thread([&] {
    EXPECT_TRUE(gate.try_acquire(mine));
    gate.release(mine);
  }).join();
  const std::size_t again = *gate.acquire_any();
  EXPECT_EQ(again, mine);
  gate.release(again);
}

TEST(Gate, HolderTakesAnotherFreeSeatAndNestsWhenThereIsNone) {
  Gate gate(2);
  const std::size_t first = *gate.acquire_any();
  const std::size_t second = *gate.acquire_any();
  EXPECT_NE(first, second);
  EXPECT_EQ(*gate.acquire_any(), second);  // the one acquired last
  for (const std::size_t seat : {second, second, first}) gate.release(seat);
  EXPECT_EQ(gate.held(), std::nullopt);
}

TEST(Gate, WaitersAreServedInOrderOfArrival) {
  Gate gate(1);
  ASSERT_TRUE(gate.acquire(0));
  std::vector<int> order;
  std::vector<std::thread> threads;
  for (int i = 0; i < 5; ++i) {
    threads.emplace_back([&, i] {
      const auto seat = i % 2 ? gate.acquire_any() : (gate.acquire(0).value(), Result<std::size_t>(0));
      order.push_back(i);  // guarded by the seat
      gate.release(*seat);
    });
    let_it_wait();
  }
  gate.release(0);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(Gate, SeatPassesOverWaitersThatItDoesNotSuit) {
  Gate gate(2);
  ASSERT_TRUE(gate.acquire(0));
  ASSERT_TRUE(gate.acquire(1));
  std::atomic<int> served = -1;
  std::thread first([&] {
    gate.acquire(0).value();
    gate.release(0);
  });
  let_it_wait();
  std::thread second([&] {
    const std::size_t seat = *gate.acquire_any();
    served = static_cast<int>(seat);
    gate.release(seat);
  });
  let_it_wait();
  gate.release(1);
  second.join();
  EXPECT_EQ(served, 1);
  gate.release(0);
  first.join();
}

TEST(Gate, OnlyOneThreadIsInASeatUnderLoad) {
  constexpr std::size_t kSeats = 3;
  Gate gate(kSeats);
  std::array<int, kSeats> inside = {};
  std::array<long, kSeats> uses = {};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        const std::size_t seat = (t + i) % 4 ? *gate.acquire_any() : (gate.acquire(i % kSeats).value(), i % kSeats);
        EXPECT_EQ(++inside[seat], 1);
        ++uses[seat];
        --inside[seat];
        gate.release(seat);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(uses[0] + uses[1] + uses[2], 16000);
}

TEST(Gate, WhoWaitsForOneSeatLeavesTheOthersToOthers) {
  Gate gate(3);
  ASSERT_TRUE(gate.acquire(0));
  std::thread waiter([&] {
    gate.acquire(0).value();
    gate.release(0);
  });
  let_it_wait();
  const std::size_t mine = *gate.acquire_any();  // the holder of a seat
  EXPECT_NE(mine, 0u);
  std::thread([&] {
    const std::size_t other = *gate.acquire_any();
    EXPECT_EQ(mine + other, 3u);
    gate.release(other);
    EXPECT_TRUE(gate.acquire(other, deadline_after(0ms)));
    gate.release(other);
  }).join();
  gate.release(mine);
  gate.release(0);
  waiter.join();
}

// Seats that are taken and freed without the mutex, by threads that wait, try, give up and nest, until the gate is closed.
TEST(Gate, NobodyIsForgottenNorInsideAfterClose) {
  constexpr std::size_t kSeats = 2;
  for (int round = 0; round < 40; ++round) {
    Gate gate(kSeats);
    std::array<int, kSeats> inside = {};
    std::atomic<bool> closed = false;
    std::vector<std::thread> threads;
    for (int t = 0; t < 6; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = t;; ++i) {
          std::size_t seat = i % kSeats;
          if (i % 5 == 0) {
            if (!gate.try_acquire(seat)) continue;
          } else {
            const Deadline deadline = i % 3 ? kNoDeadline : deadline_after(20us);
            Result<std::size_t> got = seat;
            if (i % 2) {
              got = gate.acquire_any(deadline);
            } else if (auto acquired = gate.acquire(seat, deadline); !acquired) {
              got = acquired.failure();
            }
            if (!got && got.failure().code == ErrorCode::kClosed) return;
            if (!got) continue;
            seat = *got;
            EXPECT_FALSE(closed);
          }
          EXPECT_EQ(++inside[seat], 1);
          --inside[seat];
          gate.release(seat);
        }
      });
    }
    std::this_thread::sleep_for(2ms);
    gate.close();
    closed = true;
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(gate.held(), std::nullopt);
  }
}

TEST(Gate, CloseRefusesWhoWaitsAndWhoComesLater) {
  Gate gate(1);
  ASSERT_TRUE(gate.acquire(0));
  std::atomic<int> refused = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      const auto seat = gate.acquire_any();
      if (!seat && seat.failure().code == ErrorCode::kClosed) ++refused;
    });
  }
  let_it_wait();
  std::thread closer([&] { gate.close(); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(refused, 3);
  EXPECT_TRUE(gate.acquire_any());  // nested, in a call that is still running
  gate.release(0);
  gate.release(0);
  closer.join();
  EXPECT_TRUE(gate.closed());
  EXPECT_EQ(gate.acquire(0).failure().code, ErrorCode::kClosed);
  gate.close();  // idempotent
  EXPECT_TRUE(gate.try_acquire(0));
  gate.release(0);
}

TEST(Gate, CloseWaitsForTheHolders) {
  Gate gate(2);
  std::atomic<bool> finished = false;
  std::atomic<bool> inside = false;
  std::thread holder([&] {
    const std::size_t seat = *gate.acquire_any();
    inside = true;
    std::this_thread::sleep_for(50ms);
    finished = true;
    gate.release(seat);
  });
  while (!inside) std::this_thread::yield();
  gate.close();
  EXPECT_TRUE(finished);
  holder.join();
}

TEST(Gate, WhoWaitsPastTheDeadlineLeavesTheQueue) {
  Gate gate(1);
  ASSERT_TRUE(gate.acquire(0));
  std::thread([&] {
    const auto late = gate.acquire(0, deadline_after(5ms));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.failure().code, ErrorCode::kDeadlineExceeded);
    EXPECT_FALSE(gate.acquire_any(deadline_after(0ms)));
  }).join();
  gate.release(0);
  std::thread([&] {
    EXPECT_TRUE(gate.acquire_any(deadline_after(0ms)));  // nobody waits, and so no deadline counts
    gate.release(0);
  }).join();
}

}  // namespace
}  // namespace deploy::detail
