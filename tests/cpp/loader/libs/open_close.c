// Opens a library, uses it and closes it: from many threads at once.
#include <dlfcn.h>

#include "fixture.h"

FIXTURE int check(void) {
  void* library = dlopen("libfx_provider.so", RTLD_NOW | RTLD_LOCAL);
  EXPECT(library);
  EXPECT(dlsym(library, "provided_data"));
  EXPECT(dlsym(library, "absent") == 0 && dlerror());
  EXPECT(dlclose(library) == 0);
  return 0;
}
