// A TLS segment without bytes in the file (.tbss only).
#include "fixture.h"

static __thread int zeroes[100];

FIXTURE int check(void) {
  static __thread int seen;
  volatile int* z = zeroes;
  for (int i = 0; i < 100 && !seen; ++i) EXPECT(z[i] == 0);
  seen = 1;
  z[99] = 1;
  return 0;
}
