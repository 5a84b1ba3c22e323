// Segments aligned to 2 MiB (-z max-page-size), and data aligned beyond a page.
#include <stdint.h>

#include "fixture.h"

static _Alignas(65536) int aligned_data[4] = {1, 2, 3, 4};
static _Alignas(65536) int aligned_zeroes[4];
static char large_zeroes[3 << 20];

FIXTURE int check(void) {
  EXPECT((uintptr_t)aligned_data % 65536 == 0 && aligned_data[3] == 4);
  EXPECT((uintptr_t)aligned_zeroes % 65536 == 0 && aligned_zeroes[0] == 0);
  volatile char* zeroes = large_zeroes;
  for (unsigned i = 0; i < sizeof large_zeroes; i += 1000) EXPECT(zeroes[i] == 0);
  return 0;
}
