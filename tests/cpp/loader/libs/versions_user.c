// Built against another state of libfx_versions.so each time: a reference gets the version that it was linked against.
#include <dlfcn.h>

#include "fixture.h"

int versioned(void);

FIXTURE int check(void) {
  EXPECT(versioned() == EXPECTED);
  void* self = dlopen("libfx_versions.so", RTLD_NOW | RTLD_NOLOAD);
  EXPECT(self);
  int (*found)(void) = (int (*)(void))dlvsym(self, "versioned", "V1");
  EXPECT(found && found() == 1);
  found = (int (*)(void))dlvsym(self, "versioned", "V2");
  EXPECT(found && found() == 2);
  found = (int (*)(void))dlsym(self, "versioned");
  EXPECT(found && found() == 2);
  EXPECT(!dlvsym(self, "versioned", "V9"));
  EXPECT(!dlvsym(self, "only_in_v2", "V1"));
  EXPECT(!dlsym(self, "versioned_old"));
  EXPECT(dlclose(self) == 0);
  return 0;
}
