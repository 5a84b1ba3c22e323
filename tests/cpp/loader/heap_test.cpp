#include "lib/loader/heap/heap.h"

#include <malloc.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/cpp/loader/fixture_namespace.h"

// The heap of a namespace: whose a block is, the account, the limit, threads, and the end.

namespace deploy::loader {

namespace {

constexpr std::size_t kMegabyte = 1 << 20;

std::unique_ptr<Namespace> with_heap(std::size_t limit = 0) {
  NamespaceOptions options;
  options.name = "heap";
  options.policy = fixture_policy();
  options.policy.private_names.insert(options.policy.private_names.end(), {"libmimalloc*", "libdeploy_allocator*"});
  options.allocator = DEPLOY_ALLOCATOR;
  options.memory_limit = limit;
  auto space = Namespace::create(std::move(options));
  if (!space) ADD_FAILURE() << space.failure().message;
  return space ? std::move(*space) : nullptr;
}

long resident_megabytes() {
  long total = 0, resident = 0;
  std::istringstream(read_file("/proc/self/statm")) >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE) / static_cast<long>(kMegabyte);
}

template <class Function>
Function* function(Namespace& space, Library* library, const char* name) {
  return reinterpret_cast<Function*>(*space.symbol(library, name));
}

class Heaps : public testing::Test {
 protected:
  void SetUp() override {
    if (!system_allocator_is_plain()) GTEST_SKIP() << "this process has another malloc in front (a sanitizer): no private heaps";
  }
};

class BlocksCrossTheBorder : public Heaps, public testing::WithParamInterface<const char*> {};

TEST_P(BlocksCrossTheBorder, OnAnyThreadOfTwoNamespaces) {
  ExistingThread existing;
  auto one = with_heap(), two = with_heap();
  for (Namespace* space : {one.get(), two.get(), one.get()}) {
    ASSERT_TRUE(space->has_private_allocator());
    Library* library = load_fixture(*space, "heap");
    EXPECT_EQ(call(*space, library, GetParam()), 0) << "the line in heap.c";
    EXPECT_EQ(existing.run([&] { return call(*space, library, GetParam()); }), 0);
    std::thread([&] { EXPECT_EQ(call(*space, library, GetParam()), 0); }).join();
  }
  EXPECT_TRUE(one->unload());
  EXPECT_TRUE(two->unload());
}

INSTANTIATE_TEST_SUITE_P(Heaps, BlocksCrossTheBorder,
                         testing::Values("check", "shared_code_frees_private_blocks", "private_code_frees_shared_blocks",
                                         "check_libc", "check_symbols"),
                         [](const auto& info) { return std::string(info.param); });

TEST_F(Heaps, ABlockMayBeFreedInAnotherNamespaceAndOnAnotherThread) {
  auto one = with_heap(), two = with_heap();
  auto* make = function<void*(std::size_t)>(*one, load_fixture(*one, "heap"), "make");
  auto* drop = function<void(void*)>(*two, load_fixture(*two, "heap"), "drop");
  const std::size_t before = two->heap().usage().committed;
  for (int i = 0; i < 200; ++i) {
    void* block = make(kMegabyte);
    ASSERT_EQ(Heap::owner(block), &one->heap());
    std::thread([&] { drop(block); }).join();
  }
  EXPECT_LT(one->heap().usage().committed, 64 * kMegabyte) << "200 MB were freed";
  EXPECT_LT(two->heap().usage().committed, before + 8 * kMegabyte);
}

TEST_F(Heaps, WhatTheHostAllocatesIsNobodys) {
  auto space = with_heap();
  void* block = std::malloc(100);
  EXPECT_EQ(Heap::owner(block), nullptr);
  std::free(block);
  EXPECT_EQ(Heap::owner(nullptr), nullptr);
  EXPECT_EQ(Heap::owner(reinterpret_cast<void*>(~std::uintptr_t{0})), nullptr);
}

TEST_F(Heaps, WhatWasNeverFreedGoesWithTheNamespace) {
  const auto once = [] {
    auto space = with_heap();
    Library* library = load_fixture(*space, "heap");
    EXPECT_EQ(call(*space, library, "leak_64_mb"), 0);
    EXPECT_GE(space->heap().usage().committed, 64 * kMegabyte);
    EXPECT_TRUE(space->unload());
  };
  for (int i = 0; i < 3; ++i) once();
  const long resident = resident_megabytes();
  const int mappings = mappings_of("");
  for (int i = 0; i < 10; ++i) once();
  EXPECT_LE(resident_megabytes(), resident + 1);
  EXPECT_LE(mappings_of(""), mappings + 1);
}

TEST_F(Heaps, TheAccountFollowsWhatIsHeld) {
  auto space = with_heap();
  Library* library = load_fixture(*space, "heap");
  auto* make = function<void*(std::size_t)>(*space, library, "make");
  auto* drop = function<void(void*)>(*space, library, "drop");
  drop(make(kMegabyte));
  const HeapUsage before = space->heap().usage();
  void* block = make(100 * kMegabyte);
  const HeapUsage with = space->heap().usage();
  EXPECT_GE(with.committed, before.committed + 100 * kMegabyte);
  EXPECT_LE(with.committed, before.committed + 104 * kMegabyte);
  drop(block);
  const HeapUsage after = space->heap().usage();
  EXPECT_LE(after.committed, before.committed + 2 * kMegabyte);
  EXPECT_EQ(after.peak_committed, with.peak_committed);
  EXPECT_EQ(after.limit, 0u);
}

TEST_F(Heaps, FreshMemoryOfCallocIsNotTouched) {
  auto space = with_heap();
  Library* library = load_fixture(*space, "heap");
  auto* make = function<unsigned char*(std::size_t, std::size_t)>(*space, library, "make_zeroed");
  auto* drop = function<void(void*)>(*space, library, "drop");
  const long before = resident_megabytes();
  for (const std::size_t megabytes : {1, 20, 128, 1024}) {
    unsigned char* block = make(megabytes, kMegabyte);
    ASSERT_NE(block, nullptr);
    EXPECT_LE(resident_megabytes(), before + 1) << megabytes;
    EXPECT_EQ(block[megabytes * kMegabyte - 1], 0);
    drop(block);
  }
}

TEST_F(Heaps, LargeBlocksKeepTheirBytesThroughAnySequenceOfCalls) {
  auto free_to_keep = with_heap(), limited = with_heap(400 * kMegabyte);
  for (Namespace* space : {free_to_keep.get(), limited.get()}) {
    auto* random = function<int(unsigned, int)>(*space, load_fixture(*space, "heap"), "random_large_blocks");
    std::vector<std::thread> threads;
    for (unsigned seed = 1; seed <= 4; ++seed) threads.emplace_back([=] { EXPECT_EQ(random(seed, 1000), 0) << seed; });
    for (std::thread& thread : threads) thread.join();
  }
}

TEST_F(Heaps, MoreThanTheMachineHasIsRefusedWithoutWork) {
  auto space = with_heap();
  Library* library = load_fixture(*space, "heap");
  ASSERT_EQ(call(*space, library, "use_a_little"), 0);
  const std::size_t committed = space->heap().usage().committed, reserved = space->heap().usage().reserved;
  const long resident = resident_megabytes();
  EXPECT_EQ(call(*space, library, "refusals"), 0) << "the line in heap.c";
  EXPECT_LE(space->heap().usage().committed, committed + 3 * kMegabyte);
  EXPECT_LE(space->heap().usage().reserved, reserved + 34 * kMegabyte);
  EXPECT_LE(resident_megabytes(), resident + 4);
  EXPECT_EQ(call(*space, library, "check"), 0);
}

TEST_F(Heaps, WhatTheSystemRefusesToMallocIsRefused) {
  struct sysinfo machine{};
  ASSERT_EQ(::sysinfo(&machine), 0);
  const std::size_t too_much = 2 * (machine.totalram + machine.totalswap) * machine.mem_unit;
  void* plain = std::malloc(too_much);
  auto space = with_heap();
  Library* library = load_fixture(*space, "heap");
  void* own = function<void*(std::size_t)>(*space, library, "make_untouched")(too_much);
  EXPECT_EQ(own == nullptr, plain == nullptr) << "vm.overcommit_memory decides for both";
  function<void(void*)>(*space, library, "drop")(own);
  std::free(plain);
}

TEST_F(Heaps, ALargeBlockIsFreedAndResizedFromEverySide) {
  auto one = with_heap(), two = with_heap();
  Library *in_one = load_fixture(*one, "heap"), *in_two = load_fixture(*two, "heap");
  auto* make = function<unsigned char*(std::size_t)>(*one, in_one, "make");
  auto* grow = function<unsigned char*(void*, std::size_t)>(*two, in_two, "grow");
  auto* drop = function<void(void*)>(*two, in_two, "drop");
  for (const std::size_t megabytes : {1, 20, 100}) {
    unsigned char* block = make(megabytes * kMegabyte);
    ASSERT_EQ(Heap::owner(block), &one->heap());
    block = grow(block, 2 * megabytes * kMegabyte);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(Heap::owner(block), &one->heap()) << "it stays in its heap";
    EXPECT_EQ(block[megabytes * kMegabyte - 1], 7);
    block = grow(block, 1000);
    EXPECT_EQ(block[999], 7);
    drop(block);
  }
  EXPECT_EQ(two->heap().usage().peak_committed, two->heap().usage().committed);
}

TEST_F(Heaps, AFreedLargeBlockIsTakenAgainAndGivenBackAfterAWhile) {
  auto space = with_heap();
  Library* library = load_fixture(*space, "heap");
  auto* make = function<void*(std::size_t)>(*space, library, "make");
  auto* drop = function<void(void*)>(*space, library, "drop");
  const std::size_t before = space->heap().usage().committed;
  void* first = make(4 * kMegabyte);
  drop(first);
  ASSERT_EQ(make(4 * kMegabyte + 100), first);
  drop(first);
  EXPECT_GT(space->heap().usage().committed, before + 4 * kMegabyte) << "kept";
  EXPECT_TRUE(space->heap().large().give_back());
  EXPECT_LE(space->heap().usage().committed, before + kMegabyte);
  EXPECT_FALSE(space->heap().large().give_back());
}

TEST_F(Heaps, MoreThanALimitIsKeptNowhere) {
  auto space = with_heap(200 * kMegabyte);
  Library* library = load_fixture(*space, "heap");
  auto* make = function<void*(std::size_t)>(*space, library, "make");
  auto* grow = function<void*(void*, std::size_t)>(*space, library, "grow");
  auto* drop = function<void(void*)>(*space, library, "drop");
  drop(make(100));
  const std::size_t before = space->heap().usage().committed;
  void* block = make(50 * kMegabyte);
  EXPECT_EQ(grow(block, 300 * kMegabyte), nullptr);
  block = grow(block, 100 * kMegabyte);
  ASSERT_NE(block, nullptr);
  EXPECT_LE(space->heap().usage().committed, before + 101 * kMegabyte);
  block = grow(block, 10 * kMegabyte);
  EXPECT_LE(space->heap().usage().committed, before + 11 * kMegabyte);
  drop(block);
  EXPECT_LE(space->heap().usage().committed, before);
}

TEST_F(Heaps, MemoryThatTheHostTakesForTheNamespaceCounts) {
  auto space = with_heap(64 * kMegabyte);
  const std::size_t before = space->heap().usage().committed;
  void* memory = space->heap().allocate(kMegabyte);
  ASSERT_NE(memory, nullptr);
  EXPECT_EQ(space->heap().usage().committed, before + kMegabyte);
  EXPECT_EQ(space->heap().allocate(64 * kMegabyte), nullptr) << "beyond the limit";
  space->heap().free(memory, kMegabyte);
  EXPECT_EQ(space->heap().usage().committed, before);
}

TEST_F(Heaps, TheLimitIsTheNamespacesOwn) {
  auto limited = with_heap(100 * kMegabyte), other = with_heap();
  Library* library = load_fixture(*limited, "heap");
  auto* make = function<void*(std::size_t)>(*limited, library, "make");
  auto* drop = function<void(void*)>(*limited, library, "drop");
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(call(*limited, library, "fill"), 0) << "malloc gave null, and ENOMEM";
    EXPECT_GT(call(*limited, library, "filled_megabytes"), 60);
    EXPECT_LE(call(*limited, library, "filled_megabytes"), 100);
    EXPECT_LE(limited->heap().usage().peak_committed, 100 * kMegabyte);
    EXPECT_EQ(call(*other, load_fixture(*other, "heap"), "leak_64_mb"), 0);
    EXPECT_EQ(call(*limited, library, "empty"), 0);
    EXPECT_EQ(call(*limited, library, "use_a_little"), 0);
    void* block = make(60 * kMegabyte);
    EXPECT_NE(block, nullptr) << "what was freed is there again, in another size";
    drop(block);
  }
}

TEST_F(Heaps, ThreadsOfTheHostComeAndGoWithoutATrace) {
  auto one = with_heap(), two = with_heap();
  Library *in_one = load_fixture(*one, "heap"), *in_two = load_fixture(*two, "heap");
  const auto short_threads = [&](int count) {
    for (int i = 0; i < count; ++i) {
      std::thread([&] {
        EXPECT_EQ(call(*one, in_one, "use_a_little"), 0);
        EXPECT_EQ(call(*two, in_two, "use_a_little"), 0);
        EXPECT_EQ(call(*one, in_one, "use_a_little"), 0);
      }).join();
    }
  };
  short_threads(200);
  const std::size_t committed = one->heap().usage().committed, reserved = one->heap().usage().reserved;
  const long resident = resident_megabytes();
  short_threads(2000);
  EXPECT_LE(one->heap().usage().committed, committed + kMegabyte);
  EXPECT_LE(one->heap().usage().reserved, reserved + 32 * kMegabyte);
  EXPECT_LE(resident_megabytes(), resident + 1);
}

TEST_F(Heaps, LivingThreadsThatUseAHeapInTurnNeedTheMemoryOfOne) {
  auto space = with_heap();
  Library* library = load_fixture(*space, "heap");
  ASSERT_TRUE(space->heap().hands_states_on()) << "mimalloc's code is not as thread_identity.cpp expects it";
  const auto session = [&] {
    EXPECT_EQ(call(*space, library, "use_megabytes"), 0);
    space->leave_thread();
  };
  std::vector<std::unique_ptr<ExistingThread>> threads;
  for (int i = 0; i < 24; ++i) threads.push_back(std::make_unique<ExistingThread>());
  for (int i = 0; i < 2; ++i) threads[i]->run([&] { return session(), 0; });
  const std::size_t committed = space->heap().usage().committed;
  for (int round = 0; round < 3; ++round) {
    for (auto& thread : threads) thread->run([&] { return session(), 0; });
  }
  EXPECT_LE(space->heap().usage().committed, committed + 2 * kMegabyte);
  threads.clear();
  EXPECT_LE(space->heap().usage().committed, committed + 2 * kMegabyte) << "they have ended";
}

TEST_F(Heaps, BlocksOutliveTheTurnOfTheThreadThatMadeThem) {
  auto space = with_heap();
  Library* library = load_fixture(*space, "heap");
  auto* exchange = function<int(unsigned)>(*space, library, "exchange");
  auto* make = function<void*(std::size_t)>(*space, library, "make");
  std::mutex turn;
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 6; ++seed) {
    threads.emplace_back([&, seed] {
      for (unsigned i = 0; i < 300; ++i) {
        void* block = nullptr;
        {
          const std::lock_guard mine(turn);
          failures += exchange(seed * 1000 + i) != 0;
          block = make(100);
          space->leave_thread();
        }
        free_foreign(block);  // outside of its turn, as the host does with a tensor
        if (i % 50 == 49) std::thread([&] { failures += call(*space, library, "use_a_little") != 0; }).join();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST_F(Heaps, AThreadOutlivesTheHeapsThatItUsed) {
  ExistingThread existing;
  for (int i = 0; i < 50; ++i) {
    auto one = with_heap(), two = with_heap();
    Library *in_one = load_fixture(*one, "heap"), *in_two = load_fixture(*two, "heap");
    EXPECT_EQ(existing.run([&] { return call(*one, in_one, "use_a_little") + call(*two, in_two, "use_a_little"); }), 0);
    EXPECT_TRUE((i % 2 ? one : two)->unload());
    EXPECT_EQ(existing.run([&] { return i % 2 ? call(*two, in_two, "check_libc") : call(*one, in_one, "check_libc"); }), 0);
  }
}

TEST_F(Heaps, ManyThreadsUseManyHeapsWhileOthersComeAndGo) {
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  auto steady = with_heap();
  Library* in_steady = load_fixture(*steady, "heap");
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop) failures += call(*steady, in_steady, "use_a_little") != 0 || call(*steady, in_steady, "check_libc") != 0;
    });
  }
  threads.emplace_back([&] {
    while (!stop) std::thread([&] { failures += call(*steady, in_steady, "use_a_little") != 0; }).join();
  });
  for (int i = 0; i < 15; ++i) {
    auto space = with_heap();
    Library* library = load_fixture(*space, "heap");
    std::thread other([&] { failures += call(*space, library, "use_a_little") != 0; });
    failures += call(*space, library, "shared_code_frees_private_blocks") != 0;
    other.join();
    EXPECT_TRUE(space->unload());
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST_F(Heaps, AForkedChildAllocatesWhileTheParentsThreadsDo) {
  auto space = with_heap();
  Library* library = load_fixture(*space, "heap");
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) call(*space, library, "check");
  });
  std::thread ends([&] {
    while (!stop) std::thread([&] { call(*space, library, "use_a_little"); }).join();
  });
  for (int i = 0; i < 30; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);  // a lock that nobody opens ends here
      int failed = call(*space, library, "check");
      std::thread([&] { failed += call(*space, library, "use_a_little"); }).join();
      failed += !with_heap();
      std::_Exit(failed & 0xff);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
  }
  stop = true;
  busy.join();
  ends.join();
}

TEST(SystemHeap, ANamespaceWithoutAnAllocatorUsesTheProcesss) {
  auto space = make_namespace();
  EXPECT_FALSE(space->has_private_allocator());
  Library* library = load_fixture(*space, "heap");
  EXPECT_EQ(call(*space, library, "check_libc"), 0);
  EXPECT_EQ(space->heap().usage().committed, 0u);
}

}  // namespace

}  // namespace deploy::loader
