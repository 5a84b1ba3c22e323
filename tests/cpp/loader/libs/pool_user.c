// Lends work to the threads of a shared library.
#include <semaphore.h>

#include "fixture.h"

int pool_run(int (*function)(void));
int pool_started(void);
int pool_lend(void* (*body)(void*));

static __thread int t_number __attribute__((tls_model("initial-exec"))) = 6;
static __thread int t_zero __attribute__((tls_model("initial-exec")));
static int job(void) { return t_number * 10 + t_zero; }

FIXTURE int check(void) {
  EXPECT(pool_run(job) == 60);
  t_number = 7;
  EXPECT(pool_run(job) == 60);
  t_number = 6;
  return 0;
}
FIXTURE int started(void) { return pool_started(); }

static sem_t g_go;
static void* wait_for_go(void* unused) {
  sem_wait(&g_go);
  return unused;
}
FIXTURE int lend(void) {
  sem_init(&g_go, 0, 0);
  return pool_lend(wait_for_go);
}
FIXTURE int finish(void) { return sem_post(&g_go); }
