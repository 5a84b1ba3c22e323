// What runs while others load and unload. Bounded counts, so that sanitizers and slow machines get through.

#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <thread>
#include <vector>

#include "deploy/backtrace.h"
#include "tests/cpp/loader/fixture_namespace.h"

namespace deploy::loader {

namespace {

// Runs `work` in `threads` threads while this one loads and unloads `rounds` namespaces.
void while_others_come_and_go(int threads, int rounds, const std::vector<std::string>& fixtures,
                              const std::function<void()>& work) {
  std::atomic<bool> stop = false;
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&] {
      do work();
      while (!stop);
    });
  }
  for (int i = 0; i < rounds; ++i) {
    auto space = make_namespace("passing");
    for (const std::string& fixture : fixtures) {
      Library* library = load_fixture(*space, fixture);
      EXPECT_EQ(call(*space, library, "check"), 0) << fixture;
    }
    EXPECT_TRUE(space->unload());
  }
  stop = true;
  for (std::thread& thread : running) thread.join();
}

std::atomic<int> g_located, g_lost;

void locate_interrupted(int, siginfo_t*, void* context) {
  CodeLocation where;
  const auto* interrupted = static_cast<ucontext_t*>(context);
  (locate_code(reinterpret_cast<const void*>(interrupted->uc_mcontext.gregs[REG_RIP]), where) ? g_located : g_lost)++;
}

}  // namespace

TEST(Stress, ThrowWhileOthersLoadAndUnload) {
  auto space = make_namespace("staying");
  Library* library = load_fixture(*space, "catcher");
  ASSERT_TRUE(library);
  while_others_come_and_go(3, 100, {"throw_within", "diamond", "relative"}, [&] { EXPECT_EQ(call(*space, library, "check"), 0); });
}

TEST(Stress, UseThreadLocalStorageWhileOthersLoadAndUnload) {
  auto space = make_namespace("staying");
  std::vector<Library*> libraries;
  for (const char* fixture : {"tls_general", "tls_descriptors", "tls_initial"}) libraries.push_back(load_fixture(*space, fixture));
  while_others_come_and_go(3, 100, {"tls_general", "tls_descriptors", "tls_destructors", "tls_user_general"}, [&] {
    for (Library* library : libraries) EXPECT_EQ(call(*space, library, "check"), 0);
    std::thread([&] { EXPECT_EQ(call(*space, libraries[1], "check"), 0); }).join();
  });
}

TEST(Stress, CancelThreadsWhileOthersLoadAndUnload) {
  auto space = make_namespace("staying");
  Library* library = load_fixture(*space, "cancel_unwinds");
  ASSERT_TRUE(library);
  while_others_come_and_go(2, 50, {"cancel_unwinds", "throw_within"}, [&] { EXPECT_EQ(call(*space, library, "check"), 0); });
}

TEST(Stress, OpenAndCloseInOneNamespaceFromManyThreads) {
  auto space = make_namespace("shared");
  Library* library = load_fixture(*space, "open_close");
  ASSERT_TRUE(library);
  while_others_come_and_go(3, 50, {"open_close"}, [&] { EXPECT_EQ(call(*space, library, "check"), 0); });
}

// A profiler's signal may interrupt a load at any instruction, the change of the address index included.
TEST(Stress, SignalHandlersLocateCodeDuringLoads) {
  g_located = g_lost = 0;
  struct sigaction action{}, before{};
  action.sa_sigaction = locate_interrupted;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  ::sigaction(SIGPROF, &action, &before);
  const itimerval often{{0, 1000}, {0, 1000}}, never{};
  ::setitimer(ITIMER_PROF, &often, nullptr);
  while_others_come_and_go(1, 200, {"throw_within", "diamond", "relative"}, [] {});
  ::setitimer(ITIMER_PROF, &never, nullptr);
  ::sigaction(SIGPROF, &before, nullptr);
  EXPECT_GT(g_located, 0);
}

}  // namespace deploy::loader
