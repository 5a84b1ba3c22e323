// A TLS descriptor's function keeps every register, also when it has to allocate the block.
#include <pthread.h>
#include <stdint.h>

#include "fixture.h"

unsigned clobbered_by_descriptor(void) __attribute__((visibility("hidden")));
unsigned vectors_clobbered_by_descriptor(void) __attribute__((visibility("hidden")));

static void* general(void* unused) {
  (void)unused;
  return (void*)(uintptr_t)clobbered_by_descriptor();
}
static void* vectors(void* unused) {
  (void)unused;
  return (void*)(uintptr_t)vectors_clobbered_by_descriptor();
}

FIXTURE int check(void) {
  void* (*const bodies[])(void*) = {general, vectors};
  for (int i = 0; i < 2; ++i) {
    pthread_t thread;
    void* result;
    EXPECT(pthread_create(&thread, 0, bodies[i], 0) == 0);  // the first access of a thread takes the slow path
    EXPECT(pthread_join(thread, &result) == 0);
    EXPECT(result == 0);
    EXPECT(bodies[i](0) == 0);
    EXPECT(bodies[i](0) == 0);
  }
  return 0;
}
