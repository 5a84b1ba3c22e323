// DT_NEEDED in a circle, and references both ways.
#include "fixture.h"

int in_b(int);
FIXTURE int in_a(int n) { return n == 0 ? 0 : 1 + in_b(n - 1); }

FIXTURE int check(void) {
  EXPECT(in_a(10) == 10);
  EXPECT(in_b(11) == 11);
  return 0;
}
