// A shared library with a worker thread for each thread that calls it, as an OpenMP run time has a pool. A worker ends when its
// caller's thread does, when the caller says so (in the one library through OpenMP's own function), or when pool_end_all does.
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <threads.h>
#include <unistd.h>

#include "fixture.h"

struct worker {
  sem_t job, done;
  int (*function)(void);
  int result;
  struct worker* next;
};
static __thread struct worker* t_own;
static struct worker* g_all;
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static int g_started;

static int serve(void* raw) {
  struct worker* own = raw;
  for (sem_wait(&own->job); own->function; sem_wait(&own->job)) {
    own->result = own->function();
    sem_post(&own->done);
  }
  pthread_mutex_lock(&g_lock);
  struct worker** link = &g_all;
  while (*link != own) link = &(*link)->next;
  *link = own->next;
  pthread_mutex_unlock(&g_lock);
  free(own);
  return 0;
}

static void stop(struct worker* worker) {
  worker->function = 0;
  sem_post(&worker->job);
}

static pthread_key_t g_key;
static volatile int g_callers_ended;
static void caller_ends(void* own) {
  if (t_own == own) stop(own);
  usleep(1000);  // others may see by now that the worker has ended
  ++g_callers_ended;
}
__attribute__((constructor)) static void make_key(void) { pthread_key_create(&g_key, caller_ends); }
__attribute__((destructor)) static void delete_key(void) { pthread_key_delete(g_key); }

static int start(struct worker* own) {
  pthread_setspecific(g_key, own);
#ifdef C11
  thrd_t thread;
  return thrd_create(&thread, serve, own) == thrd_success ? thrd_detach(thread) : 1;
#else
  pthread_t thread;
  return pthread_create(&thread, 0, (void* (*)(void*))(void (*)(void))serve, own) || pthread_detach(thread);
#endif
}

// Runs `function` on the caller's worker.
FIXTURE int pool_run(int (*function)(void)) {
  if (!t_own) {
    t_own = calloc(1, sizeof *t_own);
    if (start(t_own) != 0) return -1;
    pthread_mutex_lock(&g_lock);
    t_own->next = g_all;
    g_all = t_own;
    ++g_started;
    pthread_mutex_unlock(&g_lock);
  }
  t_own->function = function;
  sem_post(&t_own->job);
  sem_wait(&t_own->done);
  return t_own->result;
}

FIXTURE int pool_started(void) { return g_started; }

FIXTURE int pool_end_all(void) {
  pthread_mutex_lock(&g_lock);
  for (struct worker* w = g_all; w; w = w->next) stop(w);
  pthread_mutex_unlock(&g_lock);
  t_own = 0;
  return 0;
}

#ifdef CAN_PAUSE
FIXTURE int omp_pause_resource_all(int kind) {
  if (kind != 1 && kind != 2) return -1;
  if (t_own) stop(t_own);
  t_own = 0;
  return 0;
}
#endif

// A thread that runs the caller's code only.
FIXTURE int pool_lend(void* (*body)(void*)) {
  pthread_t thread;
  return pthread_create(&thread, 0, body, 0) || pthread_detach(thread);
}
