// What is left at signals, timers and the end of the process when the namespaces that set it are gone.

#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <thread>

#include "tests/cpp/loader/fixture_namespace.h"

namespace deploy::loader {
namespace {

int g_host_hits = 0;
void on_host_signal(int) { ++g_host_hits; }
void on_later_host_signal(int) {}

sighandler_t handler_of(int number) {
  struct sigaction now;
  ::sigaction(number, nullptr, &now);
  return now.sa_handler;
}

struct Loaded {
  explicit Loaded(const std::string& fixture = "signals") : space(make_namespace()), library(load_fixture(*space, fixture)) {}
  int call(const std::string& function) { return deploy::loader::call(*space, library, function); }
  void end() { EXPECT_TRUE(space->unload()); }
  std::unique_ptr<Namespace> space;
  Library* library;
};

class Signals : public testing::Test {
 protected:
  Signals() { ::signal(SIGUSR1, on_host_signal); }
  ~Signals() override { ::signal(SIGUSR1, SIG_DFL); }
};

TEST_F(Signals, TheHostsHandlerIsBackWhicheverNamespaceEndsFirst) {
  for (const bool first : {true, false}) {
    for (const char* set : {"set", "set_by_signal", "set_chained", "set_once", "ignore", "set_default"}) {
      Loaded a, b;
      EXPECT_EQ(a.call(set), 0);
      EXPECT_EQ(b.call(set), 0);
      EXPECT_NE(handler_of(SIGUSR1), on_host_signal) << set;
      (first ? a : b).end();
      EXPECT_NE(handler_of(SIGUSR1), on_host_signal) << set;
      (first ? b : a).end();
      EXPECT_EQ(handler_of(SIGUSR1), on_host_signal) << set;
    }
  }
}

TEST_F(Signals, TheNextNamespacesHandlerIsInForceWhenTheNewestEnds) {
  Loaded a, b;
  EXPECT_EQ(a.call("set"), 0);
  EXPECT_EQ(b.call("set"), 0);
  ::raise(SIGUSR1);
  EXPECT_EQ(a.call("seen"), 0);
  EXPECT_EQ(b.call("seen"), 1);
  b.end();
  ::raise(SIGUSR1);
  EXPECT_EQ(a.call("seen"), 1);
}

TEST_F(Signals, WhatANamespaceFindsIsTheHostsAndItGivesBackOnlyItsOwn) {
  Loaded a, b;
  EXPECT_EQ(a.call("set"), 0);
  EXPECT_EQ(b.call("is_own"), 0);
  EXPECT_EQ(b.call("set"), 0);
  EXPECT_EQ(b.call("found_default"), 0);
  EXPECT_EQ(a.call("is_own"), 1);
  EXPECT_EQ(a.call("restore"), 0);  // b goes on
  ::raise(SIGUSR1);
  EXPECT_EQ(b.call("seen"), 1);
  EXPECT_EQ(b.call("restore"), 0);
  EXPECT_EQ(handler_of(SIGUSR1), on_host_signal);
}

TEST_F(Signals, HandlersThatPassASignalOnReachEveryNamespaceAndTheHost) {
  Loaded a, b;
  EXPECT_EQ(a.call("set_chained"), 0);
  EXPECT_EQ(b.call("set_chained"), 0);
  g_host_hits = 0;
  ::raise(SIGUSR1);
  EXPECT_EQ(a.call("seen"), 1);
  EXPECT_EQ(b.call("seen"), 1);
  EXPECT_EQ(g_host_hits, 1);
  EXPECT_EQ(handler_of(SIGUSR1), on_host_signal);
}

TEST_F(Signals, WhatTheHostSetsLaterStays) {
  Loaded a, b;
  EXPECT_EQ(a.call("set"), 0);
  ::signal(SIGUSR1, on_later_host_signal);
  EXPECT_EQ(b.call("is_own"), 0);
  a.end();
  EXPECT_EQ(handler_of(SIGUSR1), on_later_host_signal);
  EXPECT_EQ(b.call("set"), 0);
  b.end();
  EXPECT_EQ(handler_of(SIGUSR1), on_later_host_signal);
}

TEST_F(Signals, AHandlerThatIsForOneSignalLeavesTheHostsWhenItsNamespaceEnds) {
  Loaded a;
  EXPECT_EQ(a.call("set_once"), 0);
  ::raise(SIGUSR1);
  EXPECT_EQ(a.call("seen"), 1);
  EXPECT_EQ(handler_of(SIGUSR1), SIG_DFL);
  a.end();
  EXPECT_EQ(handler_of(SIGUSR1), on_host_signal);
}

TEST_F(Signals, AnAlternateStackOutlivesTheNamespaceOnEveryThread) {
  const auto enabled_and_writable = [] {
    stack_t now{};
    EXPECT_EQ(::sigaltstack(nullptr, &now), 0);
    if ((now.ss_flags & SS_DISABLE) != 0) return true;
    static_cast<volatile char*>(now.ss_sp)[now.ss_size - 1] = 1;
    return static_cast<volatile char*>(now.ss_sp)[0] == 0;
  };
  Loaded a;
  ExistingThread thread;
  EXPECT_EQ(thread.run([&] { return a.call("set_stack"); }), 0);
  std::thread([&] { EXPECT_EQ(a.call("set_stack"), 0); }).join();
  a.end();
  EXPECT_EQ(thread.run([&] { return enabled_and_writable(); }), 1);
  Loaded b;
  EXPECT_EQ(thread.run([&] { return b.call("set_stack") + b.call("drop_stack"); }), 0);
}

TEST_F(Signals, TheHostsAlternateStackIsKept) {
  std::thread([] {
    static std::array<char, 1 << 16> memory;
    const stack_t mine = {memory.data(), 0, memory.size()};
    ASSERT_EQ(::sigaltstack(&mine, nullptr), 0);
    Loaded a;
    EXPECT_EQ(a.call("set_stack"), 0);
    a.end();
    stack_t now{};
    EXPECT_EQ(::sigaltstack(nullptr, &now), 0);
    EXPECT_EQ(now.ss_sp, mine.ss_sp);
    const stack_t none = {nullptr, SS_DISABLE, 0};
    ::sigaltstack(&none, nullptr);
  }).join();
}

itimerval timer_of(__itimer_which_t which) {
  itimerval now{};
  ::getitimer(which, &now);
  return now;
}

TEST(Registrations, TimersEndWithTheNamespace) {
  Loaded a("registrations");
  EXPECT_EQ(a.call("start_alarm"), 0);
  EXPECT_EQ(a.call("start_interval_timer"), 0);
  EXPECT_EQ(a.call("start_timer"), 0);
  EXPECT_NE(timer_of(ITIMER_REAL).it_value.tv_sec, 0);
  a.end();
  for (const auto which : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF}) EXPECT_EQ(timer_of(which).it_value.tv_sec, 0) << which;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // its function would be called
}

TEST(Registrations, ATimerThatTheHostStartedSinceGoesOn) {
  Loaded a("registrations");
  EXPECT_EQ(a.call("start_alarm"), 0);
  ::alarm(5000);
  a.end();
  EXPECT_GT(timer_of(ITIMER_REAL).it_value.tv_sec, 1000);
  ::alarm(0);
}

TEST(Registrations, FunctionsForTheEndOfTheProcessGoWithTheNamespace) {
  take_log();
  int status = -1;
  const pid_t child = ::fork();
  if (child == 0) {
    {
      Loaded a("registrations");
      if (a.call("register_on_exit") != 0 || a.call("register_quick_exit") != 0) ::_exit(1);
      a.end();
      if (take_log() != std::vector<int>{31}) ::_exit(2);
    }
    std::quick_exit(7);
  }
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(Registrations, FunctionsForAQuickExitRunWhileTheNamespaceIsThere) {
  int output[2];
  ASSERT_EQ(::pipe(output), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(output[1], 1);
    Loaded a("registrations");
    if (a.call("register_quick_exit") != 0) ::_exit(1);
    std::quick_exit(7);
  }
  ::close(output[1]);
  char text[16] = {};
  EXPECT_EQ(::read(output[0], text, sizeof text), 5);
  EXPECT_STREQ(text, "quick");
  ::close(output[0]);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
}

TEST(Registrations, TheCLibraryKeepsCopiesOfTexts) {
  Loaded a("registrations");
  EXPECT_EQ(a.call("keep_pointers"), 0);
  a.end();
  EXPECT_STREQ(::getenv("DEPLOY_TEST_PUT"), "kept");
  ::unsetenv("DEPLOY_TEST_PUT");
  ::syslog(LOG_DEBUG, "reads the identification");
  std::fprintf(stderr, "%s", "");  // a buffer that is gone would be written to
  ::closelog();
  ::setvbuf(stderr, nullptr, _IONBF, 0);
}

// A library may tell itself something through a variable while another namespace's copy of it does the same.
TEST(Variables, ANamespaceReadsWhatItHasSetItself) {
  ::unsetenv("DEPLOY_TEST_OWN");
  Loaded a("registrations"), b("registrations");
  EXPECT_EQ(a.call("set_own_1"), 0);
  EXPECT_EQ(b.call("read_own"), 1);  // the process has it
  EXPECT_EQ(b.call("set_own_2"), 0);
  EXPECT_EQ(a.call("read_own"), 1);
  EXPECT_EQ(a.call("read_own_securely"), 1);
  EXPECT_EQ(b.call("read_own"), 2);
  EXPECT_STREQ(::getenv("DEPLOY_TEST_OWN"), "2");  // shared libraries and the host: what was set last
  EXPECT_EQ(a.call("set_own_3_if_absent"), 0);
  EXPECT_EQ(a.call("read_own"), 1);
  EXPECT_EQ(a.call("unset_own"), 0);
  EXPECT_EQ(a.call("read_own"), -1);
  EXPECT_EQ(b.call("read_own"), 2);
  EXPECT_EQ(b.call("put_own_4"), 0);
  EXPECT_EQ(a.call("read_own"), -1);
  EXPECT_EQ(b.call("read_own"), 4);
  EXPECT_EQ(a.call("set_own_3_if_absent"), 0);
  EXPECT_EQ(a.call("read_own"), 3);
  EXPECT_EQ(a.call("set_nothing"), 1);
  b.end();
  EXPECT_EQ(a.call("read_own"), 3);
  a.end();
  Loaded c("registrations");
  EXPECT_EQ(c.call("read_own"), 3);  // the process keeps it
  ::unsetenv("DEPLOY_TEST_OWN");
  EXPECT_EQ(c.call("read_own"), -1);
}

}  // namespace
}  // namespace deploy::loader
