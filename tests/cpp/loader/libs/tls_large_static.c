// More initial-exec TLS than fits the reserve twice.
#include "fixture.h"

static __thread char block[500] = "block";

FIXTURE int check(void) {
  volatile char* b = block;
  EXPECT(b[0] == 'b');
  return 0;
}
