#include "lib/loader/shared_libraries.h"

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "tests/cpp/loader/fixture_namespace.h"

// Shared libraries with threads: open until their last thread has ended, and not longer.

namespace deploy::loader {

namespace {

using namespace std::chrono_literals;

constexpr const char* kPool = "libpx_pool.so";
constexpr const char* kPausing = "libpx_pool_pausing.so";

bool is_open(const std::string& file) { return mappings_of("/" + file) > 0; }

// Uses the pool on the calling thread, in a namespace that is gone afterwards.
void use(const char* user) {
  auto space = make_namespace();
  Library* library = load_fixture(*space, user);
  ASSERT_EQ(call(*space, library, "check"), 0);
  EXPECT_EQ(space->live_threads(), 0u) << "it is the shared library's";
  ASSERT_TRUE(space->unload());
}

// Of a library that stays open.
int call_kept(const char* file, const char* function) {
  void* handle = ::dlopen(fixture_path(file).c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (!handle) return -1;
  const int result = reinterpret_cast<int (*)()>(::dlsym(handle, function))();
  ::dlclose(handle);
  return result;
}

void wait_until_closed(const char* file) {
  for (int i = 0; i < 2000 && is_open(file); ++i) {
    std::this_thread::sleep_for(1ms);
    if (may_leave_kept_libraries()) leave_kept_libraries(0ms);
  }
  EXPECT_FALSE(is_open(file));
  EXPECT_TRUE(kept_libraries().empty());
}

TEST(SharedLibraries, WithoutThreadsTheyAreClosedWithTheLastNamespace) {
  auto first = make_namespace(), second = make_namespace();
  load_fixture(*first, "pool_user");
  load_fixture(*second, "pool_user");
  ASSERT_TRUE(first->unload());
  EXPECT_TRUE(is_open(kPool));
  ASSERT_TRUE(second->unload());
  EXPECT_FALSE(is_open(kPool));
}

TEST(SharedLibraries, WithARunningThreadTheyStayAndAreNamed) {
  use("pool_user");
  EXPECT_TRUE(is_open(kPool));
  const auto kept = kept_libraries();
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].path, fixture_path(kPool));
  EXPECT_EQ(kept[0].threads, 1u);
  leave_kept_libraries(50ms);
  EXPECT_TRUE(is_open(kPool)) << "it has no function that ends a thread's pool";
  ASSERT_EQ(call_kept(kPool, "pool_end_all"), 0);
  wait_until_closed(kPool);
}

TEST(SharedLibraries, TheNextNamespaceGetsTheSameCopyWithItsThreads) {
  use("pool_user");
  for (int i = 0; i < 20; ++i) {
    auto space = make_namespace();
    Library* library = load_fixture(*space, "pool_user");
    EXPECT_TRUE(kept_libraries().empty()) << "it is in use";
    ASSERT_EQ(call(*space, library, "check"), 0);
    ASSERT_EQ(call(*space, library, "started"), 1);
  }
  ASSERT_EQ(call_kept(kPool, "pool_end_all"), 0);
  wait_until_closed(kPool);
}

TEST(SharedLibraries, AThreadThatLeavesEndsItsOwnPool) {
  use("pool_user_pausing");
  ASSERT_EQ(kept_libraries().size(), 1u);
  EXPECT_TRUE(may_leave_kept_libraries());
  leave_kept_libraries(20s);
  EXPECT_FALSE(is_open(kPausing));
  leave_kept_libraries(20s);
  EXPECT_FALSE(may_leave_kept_libraries()) << "nothing has happened since";
}

TEST(SharedLibraries, APoolIsEndedByNoThreadButItsOwn) {
  ExistingThread other;
  other.run([] { return use("pool_user_pausing"), 0; });
  leave_kept_libraries(50ms);
  ASSERT_TRUE(is_open(kPausing));
  other.run([] { return leave_kept_libraries(20s), 0; });
  EXPECT_FALSE(is_open(kPausing));
  EXPECT_TRUE(kept_libraries().empty());
}

TEST(SharedLibraries, AThreadThatEndsMayStillBeInTheDestructorThatEndedItsPool) {
  for (int i = 0; i < 50; ++i) {
    std::atomic<bool> used{false};
    std::thread user([&] {
      use("pool_user");
      used = true;
    });
    while (!used) std::this_thread::yield();
    for (int look = 0; look < 5000 && is_open(kPool); ++look) leave_kept_libraries(0ms);
    EXPECT_FALSE(is_open(kPool));
    user.join();
  }
}

TEST(SharedLibraries, APoolInUseIsNotEnded) {
  auto steady = make_namespace();
  Library* library = load_fixture(*steady, "pool_user_pausing");
  ASSERT_EQ(call(*steady, library, "check"), 0);
  use("pool_user_pausing");
  leave_kept_libraries(50ms);
  EXPECT_TRUE(kept_libraries().empty());
  ASSERT_EQ(call(*steady, library, "check"), 0);
  EXPECT_EQ(call(*steady, library, "started"), 1);
  ASSERT_TRUE(steady->unload());
  leave_kept_libraries(20s);
  EXPECT_FALSE(is_open(kPausing));
}

TEST(SharedLibraries, WhatNeedsALibraryWithThreadsStaysToo) {
  void* handle = open_shared(fixture_path("libpx_pool_above.so").c_str(), RTLD_LAZY | RTLD_LOCAL, false);
  ASSERT_NE(handle, nullptr) << ::dlerror();
  EXPECT_EQ(reinterpret_cast<int (*)()>(::dlsym(handle, "above_run"))(), 7);
  EXPECT_EQ(close_shared(handle), 0);
  ASSERT_TRUE(is_open(kPool));
  ASSERT_EQ(kept_libraries().size(), 1u);
  EXPECT_EQ(kept_libraries()[0].path, fixture_path(kPool));
  ASSERT_EQ(call_kept(kPool, "pool_end_all"), 0);
  wait_until_closed(kPool);
  EXPECT_FALSE(is_open("libpx_pool_above.so"));
}

TEST(SharedLibraries, TheirThreadsOfC11AreKnownToo) {
  use("pool_user_c11");
  ASSERT_EQ(kept_libraries().size(), 1u);
  ASSERT_EQ(call_kept("libpx_pool_c11.so", "pool_end_all"), 0);
  wait_until_closed("libpx_pool_c11.so");
}

TEST(SharedLibraries, AThreadOfTheirsThatRunsPrivateCodeIsTheNamespaces) {
  auto space = make_namespace("model");
  Library* library = load_fixture(*space, "pool_user");
  ASSERT_EQ(call(*space, library, "lend"), 0);
  EXPECT_EQ(space->live_threads(), 1u);
  auto unloaded = space->unload();
  ASSERT_FALSE(unloaded);
  EXPECT_EQ(unloaded.failure().message,
            "model cannot be unloaded: 1 thread(s) run, one of them started by " + fixture_path("pool_user"));
  call(*space, library, "finish");
  while (space->live_threads() != 0) std::this_thread::yield();
  EXPECT_TRUE(space->unload());
  EXPECT_FALSE(is_open(kPool));
}

// The worker exists when the second namespace's variables come, and touches them by a constant offset alone.
TEST(SharedLibraries, TheirThreadsFindInitialisedThreadLocalsInEveryNamespace) {
  auto first = make_namespace(), second = make_namespace();
  ASSERT_EQ(call(*first, load_fixture(*first, "pool_user"), "check"), 0);
  ASSERT_EQ(call(*second, load_fixture(*second, "pool_user"), "check"), 0);
  ASSERT_TRUE(first->unload());
  ASSERT_TRUE(second->unload());
  ASSERT_EQ(call_kept(kPool, "pool_end_all"), 0);
  wait_until_closed(kPool);
}

TEST(SharedLibraries, InCppTheyAreNeverUnloadedForTheirThreadsAreNotSeen) {
  void* handle = open_shared(fixture_path("libpx_pool_cpp.so").c_str(), RTLD_LAZY | RTLD_LOCAL, false);
  ASSERT_NE(handle, nullptr) << ::dlerror();
  ASSERT_EQ(reinterpret_cast<int (*)()>(::dlsym(handle, "check"))(), 0);
  ASSERT_EQ(close_shared(handle), 0);
  ASSERT_TRUE(is_open("libpx_pool_cpp.so"));
  EXPECT_EQ(call_kept("libpx_pool_cpp.so", "finish"), 0);
}

TEST(SharedLibraries, NamespacesOnManyThreadsOpenLeaveAndCloseThem) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([] {
      for (int round = 0; round < 50; ++round) {
        use("pool_user_pausing");
        if (may_leave_kept_libraries()) leave_kept_libraries(20s);
      }
      leave_kept_libraries(20s);
    });
  }
  for (std::thread& thread : threads) thread.join();
  wait_until_closed(kPausing);
}

// The child has one thread: no lock may be held by another, and the parent's workers are not there to be waited for.
TEST(SharedLibraries, AForkedChildOpensAndClosesThemWhileTheParentsThreadsDo) {
  const std::string file = fixture_path(kPausing);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        close_shared(open_shared(file.c_str(), RTLD_LAZY | RTLD_LOCAL, false));
        leave_kept_libraries(0ms);
        kept_libraries();
      }
    });
  }
  use("pool_user_pausing");
  for (int i = 0; i < 100 && !testing::Test::HasFailure(); ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);
      close_shared(open_shared(file.c_str(), RTLD_LAZY | RTLD_LOCAL, false));
      leave_kept_libraries(5s);
      ::_exit(kept_libraries().empty() ? 0 : 1);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "child " << i;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  leave_kept_libraries(20s);
  wait_until_closed(kPausing);
}

}  // namespace

}  // namespace deploy::loader
