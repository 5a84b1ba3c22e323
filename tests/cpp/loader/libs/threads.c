// Threads that a library starts: joined, detached, ended by pthread_exit; keys with destructors.
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <threads.h>
#include <unistd.h>

#include "fixture.h"

static __thread int t_number = 6;
static void* twice(void* n) { return (void*)((intptr_t)n * 2 + t_number - 6); }
static void* leave(void* n) {
  t_number = 9;
  pthread_exit((void*)((intptr_t)n + t_number));
}

FIXTURE int check(void) {
  pthread_t threads[8];
  void* result;
  for (intptr_t i = 0; i < 8; ++i) EXPECT(pthread_create(&threads[i], 0, i % 2 ? twice : leave, (void*)i) == 0);
  for (intptr_t i = 0; i < 8; ++i) {
    EXPECT(pthread_join(threads[i], &result) == 0);
    EXPECT(result == (void*)(i % 2 ? i * 2 : i + 9));
  }
  return 0;
}

static sem_t g_go, g_started;
static void* wait_for_go(void* unused) {
  sem_post(&g_started);
  sem_wait(&g_go);
  return unused;
}

// Leaves a detached thread running, until finish().
FIXTURE int start(void) {
  sem_init(&g_go, 0, 0);
  sem_init(&g_started, 0, 0);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  EXPECT(pthread_create(&thread, &attributes, wait_for_go, 0) == 0);
  pthread_attr_destroy(&attributes);
  sem_wait(&g_started);
  return 0;
}
FIXTURE int finish(void) { return sem_post(&g_go); }

// The same by C11's function; and one that is joined.
static int wait_in_c11(void* unused) {
  wait_for_go(unused);
  return 0;
}
static int number_in_c11(void* number) { return *(int*)number - 50; }
FIXTURE int start_c11(void) {
  sem_init(&g_go, 0, 0);
  sem_init(&g_started, 0, 0);
  int number = 8, result = 0;
  thrd_t thread;
  EXPECT(thrd_create(&thread, number_in_c11, &number) == thrd_success);
  EXPECT(thrd_join(thread, &result) == thrd_success);
  EXPECT(result == -42);
  EXPECT(thrd_create(&thread, wait_in_c11, 0) == thrd_success);
  EXPECT(thrd_detach(thread) == thrd_success);
  sem_wait(&g_started);
  return 0;
}

// The same, under a name.
static void* wait_named(void* unused) {
  pthread_setname_np(pthread_self(), "fixture_waits");
  return wait_for_go(unused);
}
FIXTURE int start_named(void) {
  sem_init(&g_go, 0, 0);
  sem_init(&g_started, 0, 0);
  pthread_t thread;
  EXPECT(pthread_create(&thread, 0, wait_named, 0) == 0);
  EXPECT(pthread_detach(thread) == 0);
  sem_wait(&g_started);
  return 0;
}

// The library's destructor tells the thread to end, as an engine with workers does.
static int g_stops_at_end;
FIXTURE int stop_at_end(void) {
  g_stops_at_end = 1;
  return start();
}
__attribute__((destructor)) static void tell(void) {
  if (g_stops_at_end) finish();
}

// A thread whose key destructor runs until finish(): its code is needed until then.
static pthread_key_t g_key;
static void slow_destructor(void* unused) { wait_for_go(unused); }
static void* with_key(void* unused) {
  pthread_setspecific(g_key, &g_key);
  return unused;
}
FIXTURE int start_slow_destructor(void) {
  sem_init(&g_go, 0, 0);
  sem_init(&g_started, 0, 0);
  EXPECT(pthread_key_create(&g_key, slow_destructor) == 0);
  pthread_t thread;
  EXPECT(pthread_create(&thread, 0, with_key, 0) == 0);
  EXPECT(pthread_detach(thread) == 0);
  sem_wait(&g_started);
  return 0;
}

// A key that is never deleted.
FIXTURE int leave_key(void) {
  pthread_key_t key;
  EXPECT(pthread_key_create(&key, slow_destructor) == 0);
  return 0;
}
