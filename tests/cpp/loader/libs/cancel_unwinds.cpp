// pthread_cancel and pthread_exit unwind C++ frames: glibc does that with the system's libgcc, which has to find private code.
#include <pthread.h>
#include <unistd.h>

#include "fixture.h"

namespace {

struct Counter {
  int* n;
  ~Counter() { ++*n; }
};

struct Work {
  int destroyed = 0, caught = 0;
  bool leaves = false;
  bool started = false;
};

__attribute__((noinline)) int deep(Work& work, int depth) {
  const Counter counter{&work.destroyed};
  if (depth > 0) return deep(work, depth - 1) + 1;
  __atomic_store_n(&work.started, true, __ATOMIC_RELEASE);
  if (work.leaves) pthread_exit(&work);
  while (pause() == -1) continue;
  return 0;
}

void* body(void* raw) {
  Work& work = *static_cast<Work*>(raw);
  try {
    deep(work, 10);
  } catch (...) {
    ++work.caught;
    throw;  // a cancellation has to go on
  }
  return nullptr;
}

int run(bool leaves) {
  Work work;
  work.leaves = leaves;
  pthread_t thread;
  void* result = nullptr;
  EXPECT(pthread_create(&thread, nullptr, body, &work) == 0);
  while (!__atomic_load_n(&work.started, __ATOMIC_ACQUIRE)) usleep(100);
  if (!leaves) EXPECT(pthread_cancel(thread) == 0);
  EXPECT(pthread_join(thread, &result) == 0);
  EXPECT(result == (leaves ? static_cast<void*>(&work) : PTHREAD_CANCELED));
  EXPECT(work.destroyed == 11);
  EXPECT(work.caught == 1);
  return 0;
}

}  // namespace

FIXTURE int check() {
  if (const int failed = run(false)) return failed;
  return run(true);
}
