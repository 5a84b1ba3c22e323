#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "lib/loader/tls.h"
#include "tests/cpp/loader/fixture_namespace.h"

// Threads of private code, threads of the host in private code, and many of both at once.

namespace deploy::loader {

namespace {

TEST(Threads, UnloadIsRefusedWhileAPrivateThreadRunsAndNamesItsLibrary) {
  auto space = make_namespace("model");
  Library* library = load_fixture(*space, "threads");
  EXPECT_EQ(space->live_threads(), 0u);
  ASSERT_EQ(call(*space, library, "start"), 0);
  EXPECT_EQ(space->live_threads(), 1u);
  auto unloaded = space->unload();
  ASSERT_FALSE(unloaded);
  EXPECT_EQ(unloaded.failure().message,
            "model cannot be unloaded: 1 thread(s) run, one of them started by " + fixture_path("threads"));
  EXPECT_EQ(call(*space, library, "check"), 0) << "still usable";
  call(*space, library, "finish");
  while (space->live_threads() != 0) std::this_thread::yield();
  EXPECT_TRUE(space->unload());
}

TEST(Threads, AThreadCountsAsRunningUntilItsKeyDestructorsHaveRun) {
  auto space = make_namespace();
  Library* library = load_fixture(*space, "threads");
  ASSERT_EQ(call(*space, library, "start_slow_destructor"), 0);
  EXPECT_EQ(space->live_threads(), 1u) << "its function has returned, its destructor runs";
  EXPECT_FALSE(space->unload());
  call(*space, library, "finish");
  while (space->live_threads() != 0) std::this_thread::yield();
  EXPECT_TRUE(space->unload());
}

TEST(Threads, ThreadsOfC11AreKnownToo) {
  auto space = make_namespace();
  Library* library = load_fixture(*space, "threads");
  ASSERT_EQ(call(*space, library, "start_c11"), 0);
  EXPECT_EQ(space->live_threads(), 1u);
  EXPECT_FALSE(space->unload());
  call(*space, library, "finish");
  while (space->live_threads() != 0) std::this_thread::yield();
  EXPECT_TRUE(space->unload());
}

TEST(Threads, ANamespaceWithARunningThreadIsGivenUpNotUnmapped) {
  auto space = make_namespace();
  Library* library = load_fixture(*space, "threads");
  auto finish = reinterpret_cast<int (*)()>(*space->symbol(library, "finish"));
  ASSERT_EQ(call(*space, library, "start"), 0);
  space.reset();
  EXPECT_GT(mappings_of("libfx_threads.so"), 0);
  EXPECT_EQ(finish(), 0);
}

TEST(Threads, TheEndStopsThreadsByDestructorsAndWaitsForThem) {
  auto space = make_namespace();
  Library* library = load_fixture(*space, "threads");
  ASSERT_EQ(call(*space, library, "stop_at_end"), 0);
  EXPECT_FALSE(space->unload()) << "which runs no destructor while a thread runs";
  const int mappings = mappings_of("libfx_threads.so");
  EXPECT_TRUE(space->end(std::chrono::seconds(20)));
  EXPECT_LT(mappings_of("libfx_threads.so"), mappings);
}

TEST(Threads, TheEndCancelsThreadsThatOnlyWaitByName) {
  NamespaceOptions options;
  options.name = "cancels";
  options.policy = fixture_policy();
  options.cancelled_threads = {"fixture_waits"};
  auto space = *Namespace::create(std::move(options));
  ASSERT_EQ(call(*space, load_fixture(*space, "threads"), "start_named"), 0);
  const int mappings = mappings_of("libfx_threads.so");
  EXPECT_TRUE(space->end(std::chrono::seconds(20)));
  EXPECT_LT(mappings_of("libfx_threads.so"), mappings);
}

TEST(Threads, AThreadThatOutlastsTheEndsPatienceIsNamedAndKeepsItsCode) {
  auto space = make_namespace("model");
  Library* library = load_fixture(*space, "threads");
  auto finish = reinterpret_cast<int (*)()>(*space->symbol(library, "finish"));
  ASSERT_EQ(call(*space, library, "start"), 0);
  auto ended = space->end(std::chrono::milliseconds(50));
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.failure().message,
            "model cannot be unloaded: 1 thread(s) run, one of them started by " + fixture_path("threads"));
  space.reset();
  EXPECT_GT(mappings_of("libfx_threads.so"), 0);
  EXPECT_EQ(finish(), 0);
}

TEST(Threads, KeysAreGivenBackWithTheNamespace) {
  for (int i = 0; i < 2000; ++i) {  // PTHREAD_KEYS_MAX is 1024
    auto space = make_namespace();
    ASSERT_EQ(call(*space, load_fixture(*space, "threads"), "leave_key"), 0) << i;
  }
}

TEST(Threads, ThrowInThreeNamespacesOnManyThreadsAtOnce) {
  std::vector<std::unique_ptr<Namespace>> spaces;
  std::vector<Library*> libraries;
  for (int i = 0; i < 3; ++i) {
    spaces.push_back(make_namespace());
    libraries.push_back(load_fixture(*spaces.back(), i == 2 ? "throw_static_runtime" : "throw_within"));
  }
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (std::size_t i = 0; i < 9; ++i) {
    threads.emplace_back([&, i] { failures += call(*spaces[i % 3], libraries[i % 3], "throw_often") != 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST(Threads, LoadsAndUnloadsWhileOthersThrowAndUseThreadLocals) {
  auto steady = make_namespace();
  Library* thrower = load_fixture(*steady, "throw_within");
  Library* tls = load_fixture(*steady, "tls_descriptors");
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (const auto& [library, function] : {std::pair{thrower, "check"}, std::pair{thrower, "check"}}) {
    threads.emplace_back([&, library = library, function = function] {
      while (!stop) failures += call(*steady, library, function) != 0;
    });
  }
  threads.emplace_back([&] {
    while (!stop) std::thread([&] { failures += call(*steady, tls, "check") != 0; }).join();
  });
  for (int i = 0; i < 60; ++i) {
    auto space = make_namespace();
    for (const char* fixture : {"catcher", "tls_general", "tls_initial", "tls_destructors"}) {
      EXPECT_EQ(call(*space, load_fixture(*space, fixture), "check"), 0) << fixture;
    }
    EXPECT_TRUE(space->unload());
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST(Threads, NamespacesAreLoadedAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        auto space = make_namespace();
        failures += call(*space, load_fixture(*space, "catcher"), "check") != 0;
        failures += call(*space, load_fixture(*space, "tls_user_descriptors"), "check") != 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
}

TEST(Threads, AThreadOfTheHostOutlivesTheNamespacesItUsed) {
  ExistingThread existing;
  for (int i = 0; i < 50; ++i) {
    auto space = make_namespace();
    for (const char* fixture : {"tls_general", "tls_initial", "tls_descriptors", "tls_destructors"}) {
      Library* library = load_fixture(*space, fixture);
      EXPECT_EQ(existing.run([&] { return call(*space, library, "check"); }), 0);
    }
  }
}

TEST(Threads, TheReserveOfStaticTlsIsGivenBack) {
  auto first = make_namespace();
  load_fixture(*first, "tls_large_static");
  auto second = make_namespace();
  const std::string message = load_failure(*second, "tls_large_static");
  EXPECT_NE(message.find("the reserve of static TLS is full: 500 bytes asked"), std::string::npos) << message;
  EXPECT_EQ(mappings_of("libfx_tls_large_static.so"), 5);
  ASSERT_TRUE(first->unload());
  EXPECT_EQ(call(*second, load_fixture(*second, "tls_large_static"), "check"), 0);
}

TEST(Threads, InitialExecTlsWithTooLargeAnAlignmentIsRefused) {
  auto space = make_namespace();
  const std::string message = load_failure(*space, "tls_page_aligned_static");
  EXPECT_NE(message.find("alignment 4096, at most 64 is possible"), std::string::npos) << message;
}

// A child has the locks of its parent's threads, and not the threads.
TEST(Threads, AChildThatIsForkedWhileAnotherThreadIsInTheTablesFindsThemFree) {
  const auto use = [] {
    if (auto block = tls_static_reserve({nullptr, 0, 8, 8})) tls_static_release(*block);
  };
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done) use();
  });
  int status = 0;
  for (int i = 0; i < 200 && status == 0; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);
      use();
      ::_exit(0);
    }
    ASSERT_EQ(::waitpid(child, &status, 0), child);
  }
  done = true;
  other.join();
  EXPECT_EQ(status, 0) << "14: it waited for ever";
}

TEST(Threads, HundredsOfThreadLocalModules) {
  std::vector<std::unique_ptr<Namespace>> spaces;
  for (int i = 0; i < 300; ++i) {
    spaces.push_back(make_namespace());
    EXPECT_EQ(call(*spaces.back(), load_fixture(*spaces.back(), "tls_page_aligned"), "check"), 0);
  }
}

TEST(Threads, CallOnceWorksThroughTheSystemsCppRunTimeToo) {
  Policy policy = fixture_policy();
  policy.private_names = {"libfx_*"};
  policy.private_quiet_names = {};
  auto space = make_namespace("shared C++", policy);
  EXPECT_EQ(call(*space, load_fixture(*space, "tls_call_once"), "check"), 0);
}

}  // namespace

}  // namespace deploy::loader
