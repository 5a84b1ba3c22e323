// PT_GNU_STACK with PF_X: the address of a nested function is that of a piece of code on the stack.
#include <pthread.h>
#include <stdint.h>

#include "fixture.h"

__attribute__((noinline)) static int apply(int (*function)(int), int n) {
  __asm__ volatile("" : "+r"(function));
  return function(n);
}

__attribute__((noinline)) static int nested(int base) {
  int plus(int n) { return base + n; }
  return apply(plus, 2);
}

static void* in_new_thread(void* argument) { return (void*)(intptr_t)nested((int)(intptr_t)argument); }

FIXTURE int check(void) {
  EXPECT(nested(40) == 42);
  pthread_t thread;
  void* result;
  EXPECT(pthread_create(&thread, 0, in_new_thread, (void*)5) == 0);
  EXPECT(pthread_join(thread, &result) == 0);
  EXPECT((intptr_t)result == 7);
  return 0;
}
