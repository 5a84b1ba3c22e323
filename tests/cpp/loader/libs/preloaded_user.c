// A reference with a version binds to a definition without one that comes first, as with every allocator that is preloaded.
#include <dlfcn.h>
#include <unistd.h>

#include "fixture.h"

FIXTURE int check(void) {
  EXPECT(getpagesize() == 12345);
  int (*found)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "getpagesize");
  EXPECT(found && found() == 12345);
  return 0;
}
