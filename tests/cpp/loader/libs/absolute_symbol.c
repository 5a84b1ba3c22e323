// SHN_ABS: a value, not an address; it does not move with the library.
#include <dlfcn.h>
#include <stdint.h>

#include "fixture.h"

extern char absolute_symbol[];

FIXTURE int check(void) {
  char* volatile value = absolute_symbol;
  EXPECT((uintptr_t)value == 0x1234);
  EXPECT(dlsym(RTLD_DEFAULT, "absent_symbol") == 0);
  return 0;
}
