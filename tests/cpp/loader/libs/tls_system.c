// Thread-local variables of the C library are the thread's own, not a copy.
#include <errno.h>
#include <stdlib.h>

#include "fixture.h"

FIXTURE int check(void) {
  errno = 0;
  (void)strtol("99999999999999999999999", 0, 10);
  EXPECT(errno == ERANGE);
  return 0;
}
