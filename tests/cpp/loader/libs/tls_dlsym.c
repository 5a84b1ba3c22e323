// dlsym of a thread-local variable gives the calling thread's.
#include <dlfcn.h>

#include "fixture.h"

FIXTURE __thread int looked_up = 9;

FIXTURE int check(void) {
  EXPECT(dlsym(RTLD_DEFAULT, "looked_up") == 0 || dlsym(RTLD_DEFAULT, "looked_up") == &looked_up);
  Dl_info info;
  EXPECT(dladdr((void*)check, &info));
  void* self = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  EXPECT(self);
  EXPECT(dlsym(self, "looked_up") == &looked_up);
  EXPECT(dlclose(self) == 0);
  return 0;
}
