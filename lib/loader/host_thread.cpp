#include "lib/loader/host_thread.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <iterator>
#include <string>

#include "lib/loader/got.h"

// Threads of the host in private code
//
// A Python program ignores SIGPIPE, so a write to a connection that the other side has closed is an error (BrokenPipeError). The
// process here is the host's, and most C++ programs leave SIGPIPE as it is: such a write would end them. What the process does with
// the signal must not change, because the host may count on it. So the signal is blocked, which is a matter of one thread: while
// the thread runs private code for the host, and always on threads that belong to private code. The kernel directs the SIGPIPE of a
// write to the thread that wrote; there it waits, blocked, until it is taken off, before the host has its mask back.
//
// To change a mask is a system call, and two for each call of a model would be a third of what the call costs. But only a write can
// raise the signal. So private code gets functions of ours for those of the C library that write (broken_pipe_x86_64.S). The first
// one that a thread calls in a session blocks SIGPIPE; the end of the session gives the host's mask back, if there was one. Shared
// libraries that write to sockets (OpenSSL's, libcurl) get the same functions.
//
// The mask and the processors of the thread may be changed by private code itself (signal.pthread_sigmask, os.sched_setaffinity).
// The host's are kept at the first change, and given back with the end of the session.
//
// A program that private code starts must not inherit a blocked SIGPIPE. It gets what a Python program gives it: SIGPIPE is
// ignored, unless the code has set what it does in the child (subprocess sets the default: restore_signals).

namespace deploy::loader {

extern "C" {

// Of the calling thread. broken_pipe_x86_64.S knows kUnblocked.
enum PipeGuard : unsigned char {
  kOutside = 0,    // it does not run private code
  kUnblocked = 1,  // a thread of the host's, in private code
  kBlocked = 2,    // the same, with SIGPIPE blocked; t_host_mask is to be given back
  kOwn = 3,        // it belongs to private code; SIGPIPE is blocked for good
};
__attribute__((visibility("hidden"))) constinit thread_local unsigned char deploy_pipe_guard = kOutside;

__attribute__((visibility("hidden"))) extern const char deploy_pipe_stubs[];
__attribute__((visibility("hidden"))) void* deploy_pipe_targets[48];
__attribute__((visibility("hidden"))) void deploy_block_broken_pipe() noexcept;
}

namespace {

// In the order of the stubs.
constexpr const char* kWriters[] = {
    "write",
    "writev",
    "pwritev2",
    "pwritev64v2",
    "send",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "sendfile",
    "sendfile64",
    "splice",
    "vmsplice",
    "tee",
    "dprintf",
    "vdprintf",
    "__dprintf_chk",
    "__vdprintf_chk",
    "fwrite",
    "fwrite_unlocked",
    "fputs",
    "fputs_unlocked",
    "fputc",
    "fputc_unlocked",
    "putc",
    "_IO_putc",
    "putc_unlocked",
    "puts",
    "putchar",
    "putchar_unlocked",
    "fflush",
    "fflush_unlocked",
    "fclose",
    "fprintf",
    "vfprintf",
    "printf",
    "vprintf",
    "__fprintf_chk",
    "__vfprintf_chk",
    "__printf_chk",
    "__vprintf_chk",
    "perror",
    "fputwc",
    "fputws",
    "__overflow",
    "fseek",
    "fseeko",
    "freopen",
    "fcloseall",
};
static_assert(std::size(kWriters) == std::size(deploy_pipe_targets));
constexpr std::size_t kStubSize = 64;
constexpr std::string_view kSocketWriters[] = {"write", "writev", "send", "sendto", "sendmsg", "sendmmsg", "sendfile"};

// The kernel's signal sets have 64 bits; sigset_t has 1024, which is too much for thread-local variables of libdeploy.
using SignalMask = std::uint64_t;
constexpr SignalMask kPipe = SignalMask{1} << (SIGPIPE - 1);

thread_local constinit SignalMask t_host_mask = 0;
thread_local constinit bool t_was_pending = false;                // the host had blocked SIGPIPE, and one waited
thread_local constinit std::string* t_host_processors = nullptr;  // a kernel's set of processors, where private code changed it

void change_mask(int how, SignalMask mask, SignalMask* before = nullptr) {
  ::syscall(SYS_rt_sigprocmask, how, &mask, before, sizeof mask);
}

void take_pending_off() {
  constexpr timespec kNow{};
  const SignalMask pipe = kPipe;
  while (::syscall(SYS_rt_sigtimedwait, &pipe, nullptr, &kNow, sizeof pipe) == SIGPIPE || errno == EINTR) {
  }
}

void give_mask_back() {
  const int error = errno;
  if (!t_was_pending) take_pending_off();
  change_mask(SIG_SETMASK, t_host_mask);
  errno = error;
}

void give_processors_back() {
  ::sched_setaffinity(0, t_host_processors->size(), reinterpret_cast<const cpu_set_t*>(t_host_processors->data()));
  delete std::exchange(t_host_processors, nullptr);
}

void keep_processors() {
  if (t_host_processors || deploy_pipe_guard == kOutside || deploy_pipe_guard == kOwn) return;
  constexpr std::size_t kMostProcessors = 8192;
  std::string set(kMostProcessors / 8, '\0');
  const long size = ::syscall(SYS_sched_getaffinity, 0, set.size(), set.data());
  if (size <= 0) return;
  set.resize(static_cast<std::size_t>(size));
  t_host_processors = new std::string(std::move(set));
}

// A process in which private code has set what SIGPIPE does.
std::atomic<pid_t> g_disposition_set_by{0};

bool is_private() { return deploy_pipe_guard != kOutside; }

// For its life a program may be started that inherits the mask of the calling thread.
class Exposed {
 public:
  Exposed() : unblocks_(deploy_pipe_guard == kOwn || (deploy_pipe_guard == kBlocked && !(t_host_mask & kPipe))) {
    if (!unblocks_) return;
    take_pending_off();
    change_mask(SIG_UNBLOCK, kPipe);
  }
  ~Exposed() {
    if (unblocks_) change_mask(SIG_BLOCK, kPipe);
  }
  Exposed(const Exposed&) = delete;
  Exposed& operator=(const Exposed&) = delete;

 private:
  const bool unblocks_;
};

// The same for a program that takes the place of this process, which then ignores SIGPIPE as a Python program would.
template <class F>
int replace_program(F&& exec) {
  if (!is_private()) return exec();
  const Exposed exposed;
  struct sigaction before{};
  const bool ignores =
      g_disposition_set_by.load() != ::getpid() && ::sigaction(SIGPIPE, nullptr, &before) == 0 && before.sa_handler == SIG_DFL;
  if (ignores) {
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignore, nullptr);
  }
  const int result = exec();
  const int error = errno;
  if (ignores) ::sigaction(SIGPIPE, &before, nullptr);
  errno = error;
  return result;
}

int ns_execve(const char* path, char* const* arguments, char* const* environment) {
  return replace_program([&] { return ::execve(path, arguments, environment); });
}
int ns_execv(const char* path, char* const* arguments) {
  return replace_program([&] { return ::execv(path, arguments); });
}
int ns_execvp(const char* file, char* const* arguments) {
  return replace_program([&] { return ::execvp(file, arguments); });
}
int ns_execvpe(const char* file, char* const* arguments, char* const* environment) {
  return replace_program([&] { return ::execvpe(file, arguments, environment); });
}
int ns_fexecve(int file, char* const* arguments, char* const* environment) {
  return replace_program([&] { return ::fexecve(file, arguments, environment); });
}

int ns_posix_spawn(pid_t* child, const char* path, const posix_spawn_file_actions_t* actions, const posix_spawnattr_t* attributes,
                   char* const* arguments, char* const* environment) {
  const Exposed exposed;
  return ::posix_spawn(child, path, actions, attributes, arguments, environment);
}
int ns_posix_spawnp(pid_t* child, const char* file, const posix_spawn_file_actions_t* actions, const posix_spawnattr_t* attributes,
                    char* const* arguments, char* const* environment) {
  const Exposed exposed;
  return ::posix_spawnp(child, file, actions, attributes, arguments, environment);
}
int ns_system(const char* command) {
  const Exposed exposed;
  return ::system(command);
}
FILE* ns_popen(const char* command, const char* mode) {
  const Exposed exposed;
  return ::popen(command, mode);
}

// Private code may block what it likes, and unblock all but SIGPIPE; it does not see that this is blocked.
template <class F>
int change_private_mask(int how, const sigset_t* set, sigset_t* before, F&& change) {
  if (set && deploy_pipe_guard == kUnblocked) deploy_block_broken_pipe();
  if (deploy_pipe_guard == kOutside || deploy_pipe_guard == kUnblocked) return change(set, before);
  sigset_t changed;
  if (set) {
    changed = *set;
    if (how == SIG_UNBLOCK) sigdelset(&changed, SIGPIPE);
    if (how == SIG_SETMASK) sigaddset(&changed, SIGPIPE);
  }
  const int result = change(set ? &changed : nullptr, before);
  if (result == 0 && before) sigdelset(before, SIGPIPE);
  return result;
}
int ns_pthread_sigmask(int how, const sigset_t* set, sigset_t* before) {
  return change_private_mask(how, set, before, [how](const sigset_t* s, sigset_t* b) { return ::pthread_sigmask(how, s, b); });
}
int ns_sigprocmask(int how, const sigset_t* set, sigset_t* before) {
  return change_private_mask(how, set, before, [how](const sigset_t* s, sigset_t* b) { return ::sigprocmask(how, s, b); });
}

int ns_sched_setaffinity(pid_t thread, std::size_t size, const cpu_set_t* set) {
  if (thread == 0 || thread == ::gettid()) keep_processors();
  return ::sched_setaffinity(thread, size, set);
}
int ns_pthread_setaffinity(pthread_t thread, std::size_t size, const cpu_set_t* set) {
  if (::pthread_equal(thread, ::pthread_self())) keep_processors();
  return ::pthread_setaffinity_np(thread, size, set);
}

const void* stub(std::size_t index) { return deploy_pipe_stubs + index * kStubSize; }

}  // namespace

void deploy_block_broken_pipe() noexcept {
  const int error = errno;
  change_mask(SIG_BLOCK, kPipe, &t_host_mask);
  t_was_pending = false;
  if (t_host_mask & kPipe) {
    SignalMask pending = 0;
    ::syscall(SYS_rt_sigpending, &pending, sizeof pending);
    t_was_pending = pending & kPipe;
  }
  deploy_pipe_guard = kBlocked;
  errno = error;
}

void note_broken_pipe_action() noexcept { g_disposition_set_by = ::getpid(); }

void enter_host_thread() noexcept {
  if (deploy_pipe_guard == kOutside) deploy_pipe_guard = kUnblocked;
}

void leave_host_thread() noexcept {
  if (deploy_pipe_guard == kOwn) return;
  if (deploy_pipe_guard == kBlocked) give_mask_back();
  if (t_host_processors) give_processors_back();
  deploy_pipe_guard = kOutside;
}

void become_own_thread() noexcept {
  change_mask(SIG_BLOCK, kPipe);
  deploy_pipe_guard = kOwn;
}

std::vector<std::pair<std::string_view, void*>> host_thread_functions() {
  std::vector<std::pair<std::string_view, void*>> functions;
  for (std::size_t i = 0; i < std::size(kWriters); ++i) {
    deploy_pipe_targets[i] = ::dlsym(RTLD_DEFAULT, kWriters[i]);
    if (deploy_pipe_targets[i]) functions.emplace_back(kWriters[i], const_cast<void*>(stub(i)));
  }
  const auto add = [&](std::string_view name, auto function) { functions.emplace_back(name, reinterpret_cast<void*>(function)); };
  add("execve", ns_execve);
  add("execv", ns_execv);
  add("execvp", ns_execvp);
  add("execvpe", ns_execvpe);
  add("fexecve", ns_fexecve);
  add("posix_spawn", ns_posix_spawn);
  add("posix_spawnp", ns_posix_spawnp);
  add("system", ns_system);
  add("popen", ns_popen);
  add("pthread_sigmask", ns_pthread_sigmask);
  add("sigprocmask", ns_sigprocmask);
  add("sched_setaffinity", ns_sched_setaffinity);
  add("pthread_setaffinity_np", ns_pthread_setaffinity);
  return functions;
}

void watch_writes(const link_map& map) {
  static const auto* const kRedirections = [] {
    auto* list = new std::vector<Redirection>;
    for (const auto& [name, function] : host_thread_functions()) {
      for (const std::string_view writer : kSocketWriters) {
        if (name == writer) list->push_back({writer, function});
      }
    }
    return list;
  }();
  redirect_calls(map, *kRedirections);
}

}  // namespace deploy::loader
