// A shared library in C++ that leaves a thread behind, which the C++ run time starts for it.
#include <semaphore.h>

#include <thread>

#include "fixture.h"

static sem_t g_go, g_done;
static void serve() {
  sem_wait(&g_go);
  sem_post(&g_done);
}
FIXTURE int check(void) {
  sem_init(&g_go, 0, 0);
  sem_init(&g_done, 0, 0);
  std::thread(serve).detach();
  return 0;
}
FIXTURE int finish(void) {
  sem_post(&g_go);
  sem_wait(&g_done);
  return 0;
}
