// RTLD_NEXT: a wrapper that calls the definition after its own.
#include <dlfcn.h>

#include "fixture.h"

FIXTURE int wrapped(int n) {
  int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "wrapped");
  return next ? next(n) + 1000 : -1;
}
FIXTURE int next_of_absent(void) { return dlsym(RTLD_NEXT, "absent_symbol") == 0 && dlsym(RTLD_NEXT, "getpid") != 0; }
