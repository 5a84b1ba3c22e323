// Thread-local variables of a library's own, in every model: built with -ftls-model=global-dynamic, local-dynamic and initial-exec,
// and with -mtls-dialect=gnu2 (TLS descriptors).
#include <pthread.h>
#include <stdint.h>

#include "fixture.h"

FIXTURE __thread int exported = 42;
static __thread long private_one = 7;
static __thread long private_two = 8;
static __thread char zeroes[64];
static __thread _Alignas(64) char aligned[8] = "aligned";

__attribute__((noinline)) static int fresh(void) {
  EXPECT(exported == 42 && private_one == 7 && private_two == 8);
  for (unsigned i = 0; i < sizeof zeroes; ++i) EXPECT(zeroes[i] == 0);
  EXPECT((uintptr_t)aligned % 64 == 0 && aligned[0] == 'a' && aligned[7] == 0);
  return 0;
}

__attribute__((noinline)) static int used(int n) {
  exported = n;
  private_one = n + 1;
  private_two = n + 2;
  zeroes[63] = (char)n;
  EXPECT(exported == n && private_one == n + 1 && private_two == n + 2 && zeroes[63] == (char)n);
  return 0;
}

static void* in_new_thread(void* addresses) {
  ((void**)addresses)[0] = &exported;
  ((void**)addresses)[1] = &private_two;
  intptr_t failed = fresh();
  if (!failed) failed = used(1000);
  return (void*)failed;
}

FIXTURE int check(void) {
  static __thread int seen = 0;
  if (!seen) {
    const int failed = fresh();
    if (failed) return failed;
    seen = 1;
  }
  int failed = used(2000);
  if (failed) return failed;
  void *addresses[2], *result;
  pthread_t thread;
  EXPECT(pthread_create(&thread, 0, in_new_thread, addresses) == 0);
  EXPECT(pthread_join(thread, &result) == 0);
  if (result) return (int)(intptr_t)result;
  EXPECT(addresses[0] != &exported && addresses[1] != &private_two);
  EXPECT(exported == 2000 && private_two == 2002);
  return 0;
}
