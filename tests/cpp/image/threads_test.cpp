#include <gtest/gtest.h>

#include <thread>

#include "tests/cpp/image/booted_guest.h"

namespace deploy::test {
namespace {

// Runs `work` on a thread that may use the guest, which this thread does not hold meanwhile.
template <class Work>
void on_another_thread(BootedGuest& guest, Work work) {
  guest.table().thread_detach(guest.thread());
  std::thread([&] {
    guest.link_namespace().enter_thread();
    work();
  }).join();
  guest.table().thread_attach(guest.thread());
}

TEST(Threads, TheThreadThatBootedIsPythonsMainThread) {
  BootedGuest guest;
  constexpr const char* kIsMain = "(lambda t: t.current_thread() is t.main_thread())(__import__('threading'))";
  EXPECT_EQ(guest.eval(kIsMain), "True");
  on_another_thread(guest, [&] {
    const deploy_thread thread = guest.table().thread_attach(nullptr);
    EXPECT_EQ(guest.eval(kIsMain), "False");
    guest.table().thread_detach(thread);
  });
}

TEST(Threads, AttachesTheSameStateAgain) {
  BootedGuest guest;
  on_another_thread(guest, [&] {
    const deploy_thread thread = guest.table().thread_attach(nullptr);
    EXPECT_EQ(guest.exec("import threading; threading.current_thread().kept = threading.local()"), "");
    guest.table().thread_detach(thread);
    EXPECT_EQ(guest.table().thread_attach(thread), thread);
    EXPECT_EQ(guest.eval("hasattr(__import__('threading').current_thread(), 'kept')"), "True");
    guest.table().thread_detach(thread);
  });
}

TEST(Threads, AttachOnTheMainThreadTakesItsOwnState) {
  BootedGuest guest;
  const deploy_thread main = guest.thread();
  guest.table().thread_detach(main);
  EXPECT_EQ(guest.table().thread_attach(nullptr), main);
  guest.table().thread_dispose(main);  // ignored
  EXPECT_EQ(guest.eval("1 + 1"), "2");
}

TEST(Threads, DisposesTheStateOfAThreadThatEnded) {
  BootedGuest guest;
  deploy_thread thread = nullptr;
  on_another_thread(guest, [&] {
    thread = guest.table().thread_attach(nullptr);
    EXPECT_EQ(guest.exec(R"(
import sys, threading
class Flag:
    def __del__(self):
        sys.disposed = True
sys.local = threading.local()
sys.local.flag = Flag()
)"),
              "");
    guest.table().thread_detach(thread);
  });
  EXPECT_EQ(guest.eval("hasattr(__import__('sys'), 'disposed')"), "False");
  guest.table().thread_dispose(thread);
  EXPECT_EQ(guest.eval("__import__('sys').disposed"), "True");
}

// What C extensions do in callbacks: they must not wait for the GIL that this very thread holds.
TEST(Threads, GilStateEnsureWorksOnAttachedThreads) {
  BootedGuest guest;
  on_another_thread(guest, [&] {
    const deploy_thread thread = guest.table().thread_attach(nullptr);
    EXPECT_EQ(guest.exec(R"(
import ctypes
seen = []
callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda a, b: seen.append(ctypes.pythonapi.PyGILState_Check()) or 0)
array = (ctypes.c_int * 2)(2, 1)
ctypes.CDLL(None).qsort(array, ctypes.c_size_t(2), ctypes.c_size_t(4), callback)
assert seen == [1], seen
)"),
              "");
    guest.table().thread_detach(thread);
  });
}

TEST(Threads, PythonThreadsRunWhileTheHostHoldsNothing) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec(R"(
import sys, threading
sys.done = threading.Event()
threading.Thread(target=sys.done.set).start()
assert sys.done.wait(10)
)"),
            "");
}

}  // namespace
}  // namespace deploy::test
