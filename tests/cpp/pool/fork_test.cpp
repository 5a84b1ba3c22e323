// What a forked process may do with its parent's interpreters, whatever the parent's threads were doing.

#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/cpp/pool/pool_testing.h"

namespace deploy::testing {
namespace {

constexpr const char* kSource = R"(
import os, threading, time
def add(a, b):
    return a + b
def fork():
    return os.fork()
def fork_after_current_thread():
    threading.current_thread()
    return os.fork()
def spin(seconds):
    end = time.monotonic() + seconds
    n = 0
    while time.monotonic() < end:
        n += 1
class Slow:
    def __del__(self):
        time.sleep(0.05)
def slow():
    return Slow()
def run_processes():
    import multiprocessing
    threading.current_thread()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    children = [context.Process(target=queue.put, args=(i,)) for i in range(3)]
    for child in children:
        child.start()
    got = sorted(queue.get() for _ in children)
    for child in children:
        child.join()
    return str([got, [child.exitcode for child in children]])
)";

// Runs before a fork, after the handlers of libdeploy, which were registered later: OpenBLAS, for one, ends its threads there.
std::function<void()> in_fork;
const int registered = ::pthread_atfork([] { in_fork ? in_fork() : void(); }, nullptr, nullptr);

// What `work` returns in a forked process, by its exit status; a child that hangs is ended by SIGALRM.
template <class Work>
int in_child(Work&& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    int status = 99;
    try {
      status = work();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "in the child: %s\n", error.what());
    }
    std::exit(status);  // with atexit handlers and the destructors of static objects
  }
  return child;
}

int status_of(pid_t child) {
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

std::unique_ptr<InterpreterManager> make_manager(std::size_t interpreters, Environment environment = {}) {
  auto manager =
      std::make_unique<InterpreterManager>(ManagerOptions{.interpreters = interpreters, .environment = std::move(environment)});
  manager->register_module("work", kSource);
  return manager;
}

// A manager that nobody destroys before the process ends.
InterpreterManager& kept_manager() {
  static const std::unique_ptr<InterpreterManager> manager = make_manager(2);
  return *manager;
}

TEST(Forks, AChildThatOnlyExitsKeepsItsStatus) {
  kept_manager();
  EXPECT_EQ(status_of(in_child([] { return 7; })), 7);
}

TEST(Forks, AChildClosesAndDestroysWhatItInherited) {
  auto manager = make_manager(2);
  std::optional<InterpreterSession> session(manager->acquire_session());
  Object object = session->from_value(Value::list({1, 2}));
  session->close();
  std::optional<Interpreter> interpreter(manager->interpreters()[1]);
  const pid_t child = in_child([&] {
    manager->close();
    manager->close();
    object = {};
    session.reset();
    interpreter.reset();
    manager.reset();
    return 3;
  });
  EXPECT_EQ(status_of(child), 3);
  InterpreterSession goes_on = manager->acquire_session();
  EXPECT_EQ(call_global(goes_on, "work", "add", {2, 3}).as_int(), 5);
}

TEST(Forks, AChildThatIsMadeWithoutForkHandlersLeavesWhatItInheritedAloneToo) {
  auto manager = make_manager(2);
  const auto child = static_cast<pid_t>(::syscall(SYS_fork));
  if (child == 0) {
    ::alarm(60);
    manager->close();
    manager.reset();
    ::_exit(8);
  }
  EXPECT_EQ(status_of(child), 8);
}

TEST(Forks, AChildOfTheHostIsToldToMakeInterpretersOfItsOwn) {
  auto manager = make_manager(1);
  Interpreter single;
  const pid_t child = in_child([&] {
    int told = 0;
    const auto tells = [&](auto&& work) {
      const Error error = error_of(work);
      told += error.code() == ErrorCode::kClosed && error.message().find("was forked from the one that made") != std::string::npos;
    };
    tells([&] { manager->acquire_session(); });
    tells([&] { (void)manager->interpreters(); });
    tells([&] { manager->register_module("a", ""); });
    tells([&] { manager->load_package("/nowhere"); });
    tells([&] { single.acquire_session(); });
    tells([&] { (void)single.memory(); });
    single.interrupt();
    return told;
  });
  EXPECT_EQ(status_of(child), 6);
}

TEST(Forks, ASessionThatTheHostForksInIsOfNoUseInTheChildAndEndsThere) {
  auto manager = make_manager(1);
  std::optional<InterpreterSession> session(manager->acquire_session());
  Object add = session->global("work", "add");
  const pid_t child = in_child([&] {
    const ErrorCode code = error_of([&] { add(1, 2); }).code();
    add = {};
    session.reset();
    return code == ErrorCode::kClosed ? 4 : 5;
  });
  EXPECT_EQ(status_of(child), 4);
  EXPECT_EQ(add(1, 2).to_value().as_int(), 3);
}

TEST(Forks, WhatCodeForksInsideACallGoesOnInItsSession) {
  auto manager = make_manager(2);
  for (const char* name : {"fork", "fork_after_current_thread"}) {
    std::optional<InterpreterSession> session(manager->acquire_session());
    Object add = session->global("work", "add");
    const std::int64_t child = call_global(*session, "work", name).as_int();
    if (child == 0) {
      ::alarm(60);
      bool right = add(40, 2).to_value().as_int() == 42;
      InterpreterSession nested = session->interpreter().acquire_session();
      right = right && call_global(nested, "work", "add", {1, 1}).as_int() == 2;
      nested.close();
      add = {};
      session.reset();
      right = right && error_of([&] { manager->acquire_session(); }).code() == ErrorCode::kClosed;
      manager.reset();
      std::exit(right ? 6 : 1);
    }
    EXPECT_EQ(status_of(static_cast<pid_t>(child)), 6);
    EXPECT_EQ(add(1, 2).to_value().as_int(), 3);
  }
}

TEST(Forks, MultiprocessingsProcessesEndWithStatusZeroAfterCurrentThread) {
  auto manager = make_manager(1);
  InterpreterSession session = manager->acquire_session();
  EXPECT_EQ(call_global(session, "work", "run_processes").as_str(), "[[0, 1, 2], [0, 0, 0]]");
}

TEST(Forks, AChildMakesAManagerOfItsOwn) {
  kept_manager();
  const pid_t child = in_child([] {
    auto own = make_manager(2);
    InterpreterSession session = own->acquire_session();
    const std::int64_t sum = call_global(session, "work", "add", {4, 5}).as_int();
    session.close();
    own->close();
    return static_cast<int>(sum);
  });
  EXPECT_EQ(status_of(child), 9);
}

TEST(Forks, AGrandchildTooAndItsParentsManagerIsNotItsOwn) {
  const pid_t child = in_child([] {
    auto own = make_manager(1);
    const int inner = status_of(in_child([&] {
      const bool told = error_of([&] { own->acquire_session(); }).code() == ErrorCode::kClosed;
      own.reset();
      auto newer = make_manager(1);
      InterpreterSession session = newer->acquire_session();
      return told ? static_cast<int>(call_global(session, "work", "add", {1, 4}).as_int()) : 1;
    }));
    InterpreterSession session = own->acquire_session();
    return inner * 10 + static_cast<int>(call_global(session, "work", "add", {1, 2}).as_int());
  });
  EXPECT_EQ(status_of(child), 53);
}

// Forks again and again while other threads call, begin, queue, drop, boot and close.
TEST(Forks, WhateverTheParentsThreadsDoAtThatMoment) {
  auto manager = make_manager(2);
  std::atomic<bool> done = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!done) {
        InterpreterSession session = manager->acquire_session();
        Object slow = session.global("work", "slow")();
        call_global(session, "work", "spin", {0.001});
        session.close();
      }
    });
  }
  threads.emplace_back([&] {
    while (!done) {
      auto other = make_manager(2);
      InterpreterSession session = other->acquire_session();
      call_global(session, "work", "add", {1, 2});
      session.close();
      other->close();
    }
  });
  for (int round = 0; round < 40; ++round) {
    const pid_t child = in_child([&] {
      const bool told = error_of([&] { manager->acquire_session(); }).code() == ErrorCode::kClosed;
      if (round % 4 == 0) manager->close();
      if (round % 4 == 1) manager.reset();
      if (round % 4 == 2) {
        auto own = make_manager(1);
        InterpreterSession session = own->acquire_session();
        if (call_global(session, "work", "add", {1, 2}).as_int() != 3) return 1;
      }
      return told ? 20 : 2;
    });
    EXPECT_EQ(status_of(child), 20) << round;
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
}

TEST(Forks, HandlersOfOthersWaitForThreadsThatUseInterpreters) {
  int calls = 0;
  const auto use = [&] {
    std::thread([&] {
      auto manager = make_manager(1);
      InterpreterSession session = manager->acquire_session();
      calls += call_global(session, "work", "add", {0, 1}).as_int() == 1;
    }).join();
  };
  kept_manager();
  in_fork = use;
  const pid_t child = in_child([&] { return calls == 1 ? 11 : 12; });
  in_fork = nullptr;
  EXPECT_EQ(status_of(child), 11);
  use();
  EXPECT_EQ(calls, 2);
}

TEST(Forks, CodeOfThePreloadMayFork) {
  const std::string folder = ::testing::TempDir() + "deploy_fork_preload";
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/forks_at_import.py") << "import os\nchild = os.fork()\n"
                                                   "status = os.waitpid(child, 0)[1] if child else None\n";
  Environment environment;
  environment.extra_paths = {folder};
  environment.preload = {"forks_at_import"};
  InterpreterManager manager({.interpreters = 1, .environment = environment});
  InterpreterSession session = manager.acquire_session();
  EXPECT_EQ(session.import_module("forks_at_import").attr("status").to_value().as_int(), 0);
}

}  // namespace
}  // namespace deploy::testing
