// An initialiser that opens another library and uses it.
#include <dlfcn.h>

#include "fixture.h"

static int g_result = -1;

__attribute__((constructor)) static void initialise(void) {
  void* provider = dlopen("libfx_provider.so", RTLD_NOW);
  if (!provider) return;
  int (*function)(int) = (int (*)(int))dlsym(provider, "provided_function");
  if (function) g_result = function(0);
}

FIXTURE int check(void) {
  EXPECT(g_result > 0);
  return 0;
}
