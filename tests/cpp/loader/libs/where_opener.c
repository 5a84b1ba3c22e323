// dlopen of a bare name looks where the caller's own needs are looked for.
#include <dlfcn.h>

#include "fixture.h"
FIXTURE int found(void) {
  void* library = dlopen("libfx_where.so", RTLD_NOW);
  int (*function)(void) = library ? (int (*)(void))dlsym(library, "where") : 0;
  return function ? function() : -1;
}
