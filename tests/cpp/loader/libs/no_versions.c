// A library that was linked without the C library: its references have no version and it says nowhere that it needs one. The weak
// ones are how old C++ code (gthr-posix.h of GCC) asks whether there are threads; taking one for absent and another for present is
// a crash.
#include "fixture.h"

extern int pthread_once(int*, void (*)(void)) __attribute__((weak));
extern int pthread_key_create(unsigned*, void (*)(void*)) __attribute__((weak));
extern int absent_function(void) __attribute__((weak));
extern long strtol(const char*, char**, int);

static int calls;
static void count(void) { ++calls; }

FIXTURE int check(void) {
  EXPECT(!absent_function);
  EXPECT(pthread_once && pthread_key_create);
  int once = 0;
  EXPECT(pthread_once(&once, count) == 0 && pthread_once(&once, count) == 0 && calls == 1);
  calls = 0;
  EXPECT(strtol("12", 0, 10) == 12);
  return 0;
}
