// pthread_cancel and pthread_exit run the cleanup handlers of private frames, newest first.
#include <pthread.h>
#include <unistd.h>

#include "fixture.h"

static int g_log[2], g_size;
static void clean(void* number) {
  if (g_size < 2) g_log[g_size++] = *(int*)number;
}

static void* sleeper(void* leaves) {
  int one = 1, two = 2;
  pthread_cleanup_push(clean, &one);
  pthread_cleanup_push(clean, &two);
  if (leaves) pthread_exit(leaves);
  while (1) pause();
  pthread_cleanup_pop(0);
  pthread_cleanup_pop(0);
  return 0;
}

FIXTURE int check(void) {
  int number = 5;
  for (int leaves = 0; leaves < 2; ++leaves) {
    g_size = 0;
    pthread_t thread;
    void* result;
    EXPECT(pthread_create(&thread, 0, sleeper, leaves ? &number : 0) == 0);
    if (!leaves) EXPECT(pthread_cancel(thread) == 0);
    EXPECT(pthread_join(thread, &result) == 0);
    EXPECT(result == (leaves ? (void*)&number : PTHREAD_CANCELED));
    // A thread that is cancelled before it starts has pushed nothing.
    EXPECT(g_size == 2 || (!leaves && g_size == 0));
    EXPECT(g_size == 0 || (g_log[0] == 2 && g_log[1] == 1));
  }
  return 0;
}
