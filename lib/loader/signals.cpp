#include "lib/loader/signals.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>

#include "lib/loader/host_thread.h"
#include "lib/loader/interpose.h"
#include "lib/loader/namespace_impl.h"
#include "lib/loader/tls.h"
#include "lib/support/forks.h"

// Signals of private code
//
// A process has one action for a signal, and it must not be code of a namespace that is gone: the host's crash handler would be
// lost with the first interpreter that had faulthandler enabled. A program restores what it found when it ends, but with several of
// them what one found may be another's, which has ended before.
//
// So it is known which namespace set what. Each signal has an entry for each namespace that set it and did not take that back, and
// one for the host; the process does what the newest says. When a namespace goes, its entries do, and the newest of the rest is in
// force again, in whatever order namespaces end.
//
// Private code sees itself and the host, not other namespaces: what sigaction gives as the old action is its own, or the host's. To
// set what it was given first is to take its own away. So handlers that pass a signal on by restoring the old action and raising it
// again (faulthandler) hand it down: from the newest namespace to the next one, and at last to the host.
//
// The host calls the C library's own functions. It is noticed at the next look that the action is not what was last set here: then
// the host's entry is the newest, and stays.
//
// An alternate stack (sigaltstack) belongs to a thread, which outlives the interpreter. Its memory is therefore ours, for the life
// of the thread; one that the host has set is kept, and serves private code as well.
//
// All of this may be called by a signal handler: signals are blocked while the lock is held, and memory is allocated only for the
// first action that a namespace sets for a signal.

namespace deploy::loader {

namespace {

using Action = struct sigaction;

constexpr int kSignals = 64;
constexpr int kRestorer = 0x04000000;  // SA_RESTORER, which the C library adds

struct Entry {
  Entry* next = nullptr;
  const NamespaceImpl* owner = nullptr;
  std::uint64_t order = 0;  // 0: the namespace has no action now
  Action action{};
  Action given{};  // what it was told when it set the first
};

struct Signal {
  Entry* entries = nullptr;
  Action host{};
  std::uint64_t host_order = 0;
  Action installed{};
  bool is_ours = false;  // there are entries with an action, and the process did what `installed` says
};

struct Table {
  ForkLock lock;
  std::uint64_t last = 0;  // guarded by lock, as all below
  Signal signals[kSignals + 1];
  std::uint64_t process = this_process();
  pid_t pid = ::getpid();
};

// Never destroyed: code may set handlers until the process is gone.
Table& table() {
  static Table* const instance = [] {
    auto* made = new Table;
    hold_in_forks(made->lock);
    return made;
  }();
  return *instance;
}

class Locked {
 public:
  explicit Locked(Table& table) : table_(table) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
    table_.lock.lock();
  }
  ~Locked() {
    table_.lock.unlock();
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  Table& table_;
  sigset_t before_;
};

// A child of vfork, which is about to become another program, has actions of its own and this process's memory.
bool is_borrowed(Table& t) {
  const pid_t pid = ::getpid();
  if (pid == t.pid) return false;
  if (t.process == this_process()) return true;
  t.process = this_process();
  t.pid = pid;
  return false;
}

bool can_be_set(int number) { return number >= 1 && number <= kSignals && number != SIGKILL && number != SIGSTOP; }

bool same(const Action& a, const Action& b) {
  return a.sa_handler == b.sa_handler && (a.sa_flags & ~kRestorer) == (b.sa_flags & ~kRestorer);
}

Library* code_of(const Action& action) { return library_at(reinterpret_cast<const void*>(action.sa_handler)); }

Entry* newest(const Signal& s) {
  Entry* found = nullptr;
  for (Entry* entry = s.entries; entry; entry = entry->next) {
    if (entry->order != 0 && (!found || entry->order > found->order)) found = entry;
  }
  return found;
}

// Notices what the host has done since.
void look(Table& t, int number) {
  Signal& s = t.signals[number];
  Action now;
  ::sigaction(number, nullptr, &now);
  if (!s.is_ours) {
    s.host = now;
  } else if (!same(now, s.installed)) {
    Entry* entry = newest(s);
    const bool is_spent = (s.installed.sa_flags & static_cast<int>(SA_RESETHAND)) != 0 && now.sa_handler == SIG_DFL;
    if (is_spent && entry && entry->order > s.host_order) {
      entry->action = now;
    } else {
      s.host = now;
      s.host_order = ++t.last;
    }
    s.installed = now;
  }
}

int put_in_force(Signal& s, int number) {
  const Entry* entry = newest(s);
  const Action& action = entry && entry->order > s.host_order ? entry->action : s.host;
  const int error = ::sigaction(number, &action, nullptr);
  s.is_ours = entry != nullptr;
  s.installed = action;
  return error;
}

int change(NamespaceImpl& space, int number, const Action* action, Action* old) {
  if (!can_be_set(number)) return ::sigaction(number, action, old);
  Table& t = table();
  const Locked locked(t);
  if (is_borrowed(t)) return ::sigaction(number, action, old);
  look(t, number);
  Signal& s = t.signals[number];
  Entry* own = s.entries;
  while (own && own->owner != &space) own = own->next;
  const bool has_one = own && own->order != 0;
  const Action wanted = action ? *action : Action{};  // `old` may be the same object
  if (old) *old = has_one ? own->action : s.host;
  if (!action) return 0;
  const Library* code = code_of(wanted);
  const bool is_taken_back = same(wanted, s.host) || (has_one && same(wanted, own->given)) || (code && code->owner != &space);
  if (is_taken_back) {
    if (!has_one) return 0;
    own->order = 0;
    return put_in_force(s, number);
  }
  if (!own) {
    own = new (std::nothrow) Entry{s.entries, &space};
    if (!own) {
      errno = ENOMEM;
      return -1;
    }
    s.entries = own;
  }
  const Entry before = *own;
  if (!has_one) own->given = s.host;
  own->action = wanted;
  own->order = ++t.last;
  const int error = put_in_force(s, number);
  if (error != 0) own->order = before.order, own->action = before.action;
  return error;
}

int change(Library* caller, int number, const Action* action, Action* old) {
  if (caller && number == SIGPIPE && action) note_broken_pipe_action();
  return caller ? change(*caller->owner, number, action, old) : ::sigaction(number, action, old);
}

int ns_sigaction(int number, const Action* action, Action* old) { return change(DEPLOY_CALLER, number, action, old); }

std::atomic<std::uint64_t> g_interrupting{0};  // by signal: siginterrupt(3)
std::uint64_t bit(int number) { return can_be_set(number) ? std::uint64_t{1} << (number - 1) : 0; }

sighandler_t set(Library* caller, int number, sighandler_t handler, int flags) {
  Action action{}, old{};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  const int error = change(caller, number, &action, &old);
  return error == 0 ? old.sa_handler : SIG_ERR;
}

sighandler_t ns_signal(int number, sighandler_t handler) {
  const bool interrupts = (g_interrupting.load(std::memory_order_relaxed) & bit(number)) != 0;
  return set(DEPLOY_CALLER, number, handler, interrupts ? 0 : SA_RESTART);
}

sighandler_t ns_sysv_signal(int number, sighandler_t handler) {
  return set(DEPLOY_CALLER, number, handler, static_cast<int>(SA_RESETHAND) | SA_NODEFER);
}

int ns_sigignore(int number) { return set(DEPLOY_CALLER, number, SIG_IGN, 0) == SIG_ERR ? -1 : 0; }

sighandler_t ns_sigset(int number, sighandler_t handler) {
  const auto hold = reinterpret_cast<sighandler_t>(2);  // SIG_HOLD
  sigset_t only, before;
  sigemptyset(&only);
  if (sigaddset(&only, number) != 0) return SIG_ERR;
  sighandler_t old = SIG_ERR;
  if (handler == hold) {
    Action now{};
    if (change(DEPLOY_CALLER, number, nullptr, &now) != 0) return SIG_ERR;
    old = now.sa_handler;
  } else if ((old = set(DEPLOY_CALLER, number, handler, 0)) == SIG_ERR) {
    return SIG_ERR;
  }
  pthread_sigmask(handler == hold ? SIG_BLOCK : SIG_UNBLOCK, &only, &before);
  return sigismember(&before, number) ? hold : old;
}

int ns_siginterrupt(int number, int interrupts) {
  Library* caller = DEPLOY_CALLER;
  Action action{};
  if (change(caller, number, nullptr, &action) != 0) return -1;
  interrupts ? g_interrupting |= bit(number) : g_interrupting &= ~bit(number);
  action.sa_flags = interrupts ? action.sa_flags & ~SA_RESTART : action.sa_flags | SA_RESTART;
  return change(caller, number, &action, nullptr);
}

// Of the calling thread: what private code was told that its alternate stack is, and the memory that is.
struct AlternateStack {
  std::uint64_t space = 0;  // its serial number; 0: private code has none
  stack_t given{};
  void* memory = nullptr;
  std::size_t size = 0;
};
thread_local AlternateStack* t_stack = nullptr;

constexpr stack_t kNoStack = {nullptr, SS_DISABLE, 0};

void free_stack(void* raw) {
  const std::unique_ptr<AlternateStack> own(static_cast<AlternateStack*>(raw));
  t_stack = nullptr;
  stack_t now{};
  if (::sigaltstack(nullptr, &now) == 0 && now.ss_sp == own->memory) ::sigaltstack(&kNoStack, nullptr);
  if (own->memory) ::munmap(own->memory, own->size);
}

// Makes the thread's alternate stack one of at least this size. False: no memory.
bool provide_stack(AlternateStack& own, std::size_t size) {
  if (own.size < size) {
    const std::size_t wanted = (size + 4095) / 4096 * 4096;
    void* memory = ::mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) return false;
    ::sigaltstack(&kNoStack, nullptr);
    if (own.memory) ::munmap(own.memory, own.size);
    own.memory = memory;
    own.size = wanted;
  }
  const stack_t stack = {own.memory, 0, own.size};
  return ::sigaltstack(&stack, nullptr) == 0;
}

int set_stack(NamespaceImpl& space, const stack_t* stack, stack_t* old) {
  stack_t now{};
  if (::sigaltstack(nullptr, &now) != 0) return -1;
  const bool is_own = t_stack && t_stack->memory && now.ss_sp == t_stack->memory;
  const int on_stack = now.ss_flags & SS_ONSTACK;
  const stack_t wanted = stack ? *stack : kNoStack;  // `old` may be the same object
  const stack_t of_host = is_own ? kNoStack : now;
  if (old) {
    *old = t_stack && t_stack->space == space.serial ? t_stack->given : of_host;
    old->ss_flags |= on_stack;
  }
  if (!stack) return 0;
  if (on_stack) {
    errno = EPERM;
    return -1;
  }
  const bool is_taken_back = (wanted.ss_flags & SS_DISABLE) != 0 || (!is_own && wanted.ss_sp == now.ss_sp);
  if (is_taken_back) {
    if (t_stack) t_stack->space = 0;
    return 0;
  }
  if (wanted.ss_size < static_cast<std::size_t>(MINSIGSTKSZ)) {
    errno = ENOMEM;
    return -1;
  }
  if (!t_stack) {
    t_stack = new AlternateStack;
    tls_when_thread_ended(free_stack, t_stack);
  }
  if ((of_host.ss_flags & SS_DISABLE) != 0 && !provide_stack(*t_stack, wanted.ss_size)) {
    errno = ENOMEM;
    return -1;
  }
  t_stack->space = space.serial;
  t_stack->given = {wanted.ss_sp, 0, wanted.ss_size};
  return 0;
}

int ns_sigaltstack(const stack_t* stack, stack_t* old) {
  Library* caller = DEPLOY_CALLER;
  return caller ? set_stack(*caller->owner, stack, old) : ::sigaltstack(stack, old);
}

}  // namespace

void forget_signals(const NamespaceImpl& space) {
  Table& t = table();
  const Locked locked(t);
  for (int number = 1; number <= kSignals; ++number) {
    if (!can_be_set(number)) continue;
    Signal& s = t.signals[number];
    const auto is_gone = [&] {
      Action now;
      if (::sigaction(number, nullptr, &now) != 0) return false;
      const Library* code = code_of(now);  // set in another way, by a system call of its own
      return code && code->owner == &space;
    };
    bool had_one = false;
    for (Entry** at = &s.entries; *at;) {
      if ((*at)->owner != &space) {
        at = &(*at)->next;
        continue;
      }
      if (!std::exchange(had_one, true)) look(t, number);
      delete std::exchange(*at, (*at)->next);
    }
    if (had_one) put_in_force(s, number);
    if (is_gone()) {
      Action nothing{};
      nothing.sa_handler = SIG_DFL;
      if (const Library* code = code_of(s.host); code && code->owner == &space) s.host = nothing;
      put_in_force(s, number);
    }
  }
}

void forget_signals(const Library& library) {
  Table& t = table();
  const Locked locked(t);
  for (int number = 1; number <= kSignals; ++number) {
    Signal& s = t.signals[number];
    for (Entry* entry = s.entries; entry; entry = entry->next) {
      if (entry->order == 0 || code_of(entry->action) != &library) continue;
      look(t, number);
      entry->order = 0;
      put_in_force(s, number);
    }
  }
}

std::vector<std::pair<std::string_view, void*>> signal_functions() {
  const auto at = [](auto function) { return reinterpret_cast<void*>(function); };
  return {{"sigaction", at(ns_sigaction)},       {"__sigaction", at(ns_sigaction)},  {"signal", at(ns_signal)},
          {"bsd_signal", at(ns_signal)},         {"ssignal", at(ns_signal)},         {"sysv_signal", at(ns_sysv_signal)},
          {"__sysv_signal", at(ns_sysv_signal)}, {"sigset", at(ns_sigset)},          {"sigignore", at(ns_sigignore)},
          {"siginterrupt", at(ns_siginterrupt)}, {"sigaltstack", at(ns_sigaltstack)}};
}

}  // namespace deploy::loader
