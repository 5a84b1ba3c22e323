#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xmmintrin.h>

#include <cerrno>
#include <cfenv>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "deploy/interpreter.h"

// What code inside may do to a thread that belongs to the host, and what the host then has: all as it was. The test program leaves
// SIGPIPE as it is, so a signal that gets through ends it.

namespace deploy {
namespace {

constexpr const char* kSource = R"py(
import ctypes, os, signal, socket, subprocess, threading

libc = ctypes.CDLL(None, use_errno=True)
libm = ctypes.CDLL("libm.so.6")


def refused(write):
    try:
        write()
    except BrokenPipeError:
        return True
    return False


def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def writes():
    a, b = socket.socketpair()
    b.close()
    pipe = closed_pipe()
    file = os.fdopen(closed_pipe(), "wb", buffering=0)
    stream = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    stream.wait()
    return [
        refused(lambda: a.send(b"x")),
        refused(lambda: a.sendmsg([b"x"])),
        refused(lambda: os.write(pipe, b"x")),
        refused(lambda: os.writev(pipe, [b"x"])),
        refused(lambda: os.sendfile(a.fileno(), os.open("/proc/self/exe", os.O_RDONLY), 0, 10)),
        refused(lambda: file.write(b"x")),
        refused(lambda: stream.stdin.write(b"x" * 100_000)),
    ]


def write_by_stdio():
    libc.fdopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fdopen(closed_pipe(), b"w"))
    libc.fprintf(stream, b"%s %d %.1f\n", b"text", 7, ctypes.c_double(2.5))
    return [libc.fflush(stream), ctypes.get_errno()]


def write_on_thread():
    results = []
    thread = threading.Thread(target=lambda: results.extend(writes()))
    thread.start()
    thread.join()
    return results


def child_signals(**options):
    words = subprocess.run(["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"], capture_output=True, **options).stdout.split()
    bit = 1 << (signal.SIGPIPE - 1)
    return [bool(int(words[1], 16) & bit), bool(int(words[3], 16) & bit)]


def mask():
    return sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, []))


def change_mask():
    signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGUSR2])
    return writes()


def unblock():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPIPE])
    return writes()


def change_processors():
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    return len(os.sched_getaffinity(0))


def round_up():
    return libm.fesetround(0x800)


def rounding():
    return libm.fegetround()
)py";

std::vector<int> host_mask() {
  sigset_t set;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &set);
  std::vector<int> numbers;
  for (int i = 1; i < NSIG; ++i) {
    if (sigismember(&set, i) == 1) numbers.push_back(i);
  }
  return numbers;
}

class HostThread : public testing::Test {
 protected:
  HostThread() { interpreter_.register_module("subject", kSource); }

  Value call(const char* name) { return call(interpreter_, name); }
  static Value call(Interpreter& interpreter, const char* name, Kwargs kwargs = {}) {
    InterpreterSession session = interpreter.acquire_session();
    return session.global("subject", name).call({}, std::move(kwargs)).to_value();
  }
  static void expect_all_true(const Value& list) {
    for (const Value& item : list.items()) EXPECT_TRUE(item.as_bool()) << list.repr();
  }

  Interpreter interpreter_;
};

TEST_F(HostThread, AWriteToAClosedConnectionIsAnErrorInsideAndNoSignal) {
  expect_all_true(call("writes"));
  const Value stdio = call("write_by_stdio");
  EXPECT_EQ(stdio.at(0).as_int(), -1);
  EXPECT_EQ(stdio.at(1).as_int(), EPIPE);
  expect_all_true(call("write_on_thread"));
}

TEST_F(HostThread, TheHostHasItsMaskAndItsSignalBack) {
  const std::vector<int> before = host_mask();
  call("writes");
  EXPECT_EQ(host_mask(), before);
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
  struct sigaction action{};
  sigaction(SIGPIPE, nullptr, &action);
  EXPECT_EQ(action.sa_handler, SIG_DFL);
  EXPECT_EXIT(
      {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) ::_exit(1);
        ::close(ends[1]);
        (void)::send(ends[0], "x", 1, 0);
        ::_exit(0);
      },
      testing::KilledBySignal(SIGPIPE), "");
}

TEST_F(HostThread, ASignalThatTheHostHadBlockedAndPendingStaysPending) {
  sigset_t pipe, before;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, &before);
  ::pthread_kill(::pthread_self(), SIGPIPE);
  expect_all_true(call("writes"));
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 1);
  const timespec now{};
  EXPECT_EQ(::sigtimedwait(&pipe, nullptr, &now), SIGPIPE);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_F(HostThread, ProgramsStartWithWhatPythonGivesThem) {
  call("writes");
  const auto signals = [&](Kwargs options) {
    const Value found = call(interpreter_, "child_signals", std::move(options));
    return std::pair(found.at(0).as_bool(), found.at(1).as_bool());
  };
  EXPECT_EQ(signals({}), std::pair(false, false)) << "blocked, ignored";
  EXPECT_EQ(signals({{"restore_signals", false}}), std::pair(false, true)) << "a Python program ignores it";
}

TEST_F(HostThread, AMaskThatCodeInsideSetsEndsWithTheSession) {
  const std::vector<int> before = host_mask();
  {
    InterpreterSession session = interpreter_.acquire_session();
    expect_all_true(session.global("subject", "change_mask")().to_value());
    const Value mask = session.global("subject", "mask")().to_value();
    ASSERT_EQ(mask.size(), 1u) << mask.repr();
    EXPECT_EQ(mask.at(0).as_int(), SIGUSR2);
    EXPECT_NE(host_mask(), before);
  }
  EXPECT_EQ(host_mask(), before);
  expect_all_true(call("unblock"));
  EXPECT_EQ(host_mask(), before);
}

TEST_F(HostThread, ProcessorsThatCodeInsideChoosesAreTheSessionsOnly) {
  cpu_set_t before, after;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(call("change_processors").as_int(), 1);
  ASSERT_EQ(::sched_getaffinity(0, sizeof after, &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

TEST_F(HostThread, RoundingBelongsToAThreadInAnInterpreter) {
  Interpreter other;
  other.register_module("subject", kSource);
  EXPECT_EQ(call("round_up").as_int(), 0);
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
  EXPECT_EQ(call(other, "rounding").as_int(), FE_TONEAREST);
  EXPECT_EQ(call("rounding").as_int(), FE_UPWARD) << "kept for the next call";
  std::thread([&] { EXPECT_EQ(call("rounding").as_int(), FE_TONEAREST) << "another thread's"; }).join();
}

TEST_F(HostThread, CodeInsideDoesNotComputeAsTheHostWasSet) {
  std::fesetround(FE_DOWNWARD);
  _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_ON);
  EXPECT_EQ(call("rounding").as_int(), FE_TONEAREST);
  Interpreter made_here;
  made_here.register_module("subject", kSource);
  EXPECT_EQ(call(made_here, "rounding").as_int(), FE_TONEAREST);
  EXPECT_EQ(std::fegetround(), FE_DOWNWARD);
  EXPECT_EQ(_MM_GET_FLUSH_ZERO_MODE(), static_cast<unsigned>(_MM_FLUSH_ZERO_ON));
  _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_OFF);
  std::fesetround(FE_TONEAREST);
}

TEST_F(HostThread, NestedSessionsGiveBackOnceTheLastHasEnded) {
  const std::vector<int> before = host_mask();
  Interpreter other;
  other.register_module("subject", kSource);
  std::optional<InterpreterSession> first(interpreter_.acquire_session());
  std::optional<InterpreterSession> second(other.acquire_session());
  expect_all_true(first->global("subject", "writes")().to_value());
  first.reset();
  expect_all_true(second->global("subject", "writes")().to_value());
  second.reset();
  EXPECT_EQ(host_mask(), before);
}

}  // namespace
}  // namespace deploy
