#include "lib/loader/registrations.h"

#include <sys/time.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "lib/loader/heap/heap.h"
#include "lib/loader/interpose.h"
#include "lib/loader/namespace_impl.h"
#include "lib/support/forks.h"

// What a process keeps for code that is gone
//
// The C library keeps functions and pointers for the life of the process, and a timer goes off whoever set it: a namespace that
// ends must not leave them behind.
//
//   setitimer, alarm, ualarm   known by the namespace that set one last; it is stopped, unless another is running by then
//   timer_create               deleted; with SIGEV_THREAD it would call code that is not there, else it would send a signal
//   on_exit, at_quick_exit     on_exit is an exit handler of the namespace, as atexit is (init_fini.cpp); at_quick_exit calls a
//   list of
//                              ours, which a namespace that goes is taken out of
//   openlog                    gets a copy of the text that the C library would keep a pointer to
//   setvbuf and its like       a private buffer is not given to a stream, which gets one of the C library's of the same mode

namespace deploy::loader {

namespace {

constexpr int kIntervalTimers = 3;  // ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF

struct IntervalTimer {
  const NamespaceImpl* owner = nullptr;
  itimerval set{};
};

struct Registry {
  ForkLock lock;
  IntervalTimer interval_timers[kIntervalTimers];  // guarded by lock, as all below
  std::map<timer_t, const NamespaceImpl*> timers;
  std::vector<std::pair<const NamespaceImpl*, void (*)(void*)>> at_quick_exit;
  bool is_called_at_quick_exit = false;
  std::set<std::string> idents;  // of openlog; the C library may keep any of them
};

// Never destroyed: code may run until the process is gone.
Registry& registry() {
  static Registry* const instance = [] {
    auto* made = new Registry;
    hold_in_forks(made->lock);
    return made;
  }();
  return *instance;
}

void note_interval_timer(const Library* caller, int which, const itimerval& set) {
  if (!caller || which < 0 || which >= kIntervalTimers) return;
  Registry& r = registry();
  const std::lock_guard guard(r.lock);
  r.interval_timers[which] = {timerisset(&set.it_value) ? caller->owner : nullptr, set};
}

int ns_setitimer(int which, const itimerval* value, itimerval* old) {
  const Library* caller = DEPLOY_CALLER;
  const itimerval set = value ? *value : itimerval{};
  const int error = ::setitimer(static_cast<__itimer_which_t>(which), value, old);
  if (error == 0) note_interval_timer(caller, which, set);
  return error;
}

unsigned ns_alarm(unsigned seconds) {
  const Library* caller = DEPLOY_CALLER;
  const unsigned left = ::alarm(seconds);
  note_interval_timer(caller, ITIMER_REAL, {{}, {static_cast<time_t>(seconds), 0}});
  return left;
}

useconds_t ns_ualarm(useconds_t value, useconds_t interval) {
  const Library* caller = DEPLOY_CALLER;
  const useconds_t left = ::ualarm(value, interval);
  const auto time = [](useconds_t u) { return timeval{static_cast<time_t>(u / 1000000), static_cast<suseconds_t>(u % 1000000)}; };
  note_interval_timer(caller, ITIMER_REAL, {time(interval), time(value)});
  return left;
}

int ns_timer_create(clockid_t clock, sigevent* event, timer_t* timer) {
  const Library* caller = DEPLOY_CALLER;
  const int error = ::timer_create(clock, event, timer);
  if (error == 0 && caller) {
    Registry& r = registry();
    const std::lock_guard guard(r.lock);
    r.timers[*timer] = caller->owner;
  }
  return error;
}

int ns_timer_delete(timer_t timer) {
  {
    Registry& r = registry();
    const std::lock_guard guard(r.lock);
    r.timers.erase(timer);
  }
  return ::timer_delete(timer);
}

struct OnExit {
  void (*function)(int, void*);
  void* argument;
};

void run_on_exit(void* raw) {
  const std::unique_ptr<OnExit> handler(static_cast<OnExit*>(raw));
  handler->function(0, handler->argument);
}

int ns_on_exit(void (*function)(int, void*), void* argument) {
  Library* caller = DEPLOY_CALLER;
  if (!caller) return ::on_exit(function, argument);
  return caller->owner->at_exit({run_on_exit, new OnExit{function, argument}, nullptr, caller});
}

// The newest first. What a handler registers on its way runs as well.
void run_at_quick_exit() {
  Registry& r = registry();
  while (true) {
    void (*function)(void*) = nullptr;
    {
      const std::lock_guard guard(r.lock);
      if (r.at_quick_exit.empty()) return;
      function = r.at_quick_exit.back().second;
      r.at_quick_exit.pop_back();
    }
    function(nullptr);
  }
}

int ns_at_quick_exit(void (*function)(void*), void* dso) {
  const Library* library = library_at(dso);
  if (!library) library = DEPLOY_CALLER;
  if (!library) return ::at_quick_exit(reinterpret_cast<void (*)()>(reinterpret_cast<void*>(function)));
  Registry& r = registry();
  const std::lock_guard guard(r.lock);
  if (!r.is_called_at_quick_exit && ::at_quick_exit(run_at_quick_exit) != 0) return -1;
  r.is_called_at_quick_exit = true;
  r.at_quick_exit.emplace_back(library->owner, function);
  return 0;
}

void ns_openlog(const char* ident, int options, int facility) {
  if (ident) {
    Registry& r = registry();
    const std::lock_guard guard(r.lock);
    ident = r.idents.insert(ident).first->c_str();
  }
  ::openlog(ident, options, facility);
}

bool is_private(const char* buffer) { return buffer && (Heap::owner(buffer) || library_at(buffer)); }

int ns_setvbuf(FILE* stream, char* buffer, int mode, std::size_t size) {
  return ::setvbuf(stream, is_private(buffer) ? nullptr : buffer, mode, size);
}

void ns_setbuffer(FILE* stream, char* buffer, std::size_t size) {
  ::setvbuf(stream, is_private(buffer) ? nullptr : buffer, buffer ? _IOFBF : _IONBF, size);
}

void ns_setbuf(FILE* stream, char* buffer) { ns_setbuffer(stream, buffer, BUFSIZ); }

bool operator==(const timeval& a, const timeval& b) { return a.tv_sec == b.tv_sec && a.tv_usec == b.tv_usec; }

// What runs now is what was set then, as far as can be told: another that was set since has another interval or more to go.
void stop(int which, const itimerval& set) {
  const auto timer = static_cast<__itimer_which_t>(which);
  itimerval now{};
  if (::getitimer(timer, &now) != 0 || !timerisset(&now.it_value) || !(now.it_interval == set.it_interval)) return;
  const timeval& most = timercmp(&set.it_value, &set.it_interval, <) ? set.it_interval : set.it_value;
  if (timercmp(&now.it_value, &most, >)) return;
  const itimerval none{};
  ::setitimer(timer, &none, nullptr);
}

}  // namespace

void end_registrations(const NamespaceImpl& space) {
  Registry& r = registry();
  const std::lock_guard guard(r.lock);
  for (int which = 0; which < kIntervalTimers; ++which) {
    IntervalTimer& timer = r.interval_timers[which];
    if (timer.owner != &space) continue;
    stop(which, timer.set);
    timer.owner = nullptr;
  }
  std::erase_if(r.timers, [&](const auto& timer) { return timer.second == &space && (::timer_delete(timer.first), true); });
  std::erase_if(r.at_quick_exit, [&](const auto& handler) { return handler.first == &space; });
}

std::vector<std::pair<std::string_view, void*>> registration_functions() {
  const auto at = [](auto function) { return reinterpret_cast<void*>(function); };
  return {{"setitimer", at(ns_setitimer)},
          {"alarm", at(ns_alarm)},
          {"ualarm", at(ns_ualarm)},
          {"timer_create", at(ns_timer_create)},
          {"timer_delete", at(ns_timer_delete)},
          {"on_exit", at(ns_on_exit)},
          {"__cxa_at_quick_exit", at(ns_at_quick_exit)},
          {"openlog", at(ns_openlog)},
          {"setvbuf", at(ns_setvbuf)},
          {"setbuffer", at(ns_setbuffer)},
          {"setbuf", at(ns_setbuf)}};
}

}  // namespace deploy::loader
