// The rest of the last file page of the data segment is zero, whatever the file holds there.
#include "fixture.h"

static int data = 1;
static char zeroes[5000];

FIXTURE int check(void) {
  volatile char* z = zeroes;
  volatile int* d = &data;
  EXPECT(*d == 1);
  for (unsigned i = 0; i < sizeof zeroes; ++i) EXPECT(z[i] == 0);
  return 0;
}
