// R_X86_64_RELATIVE, as DT_RELA or, with -z pack-relative-relocs, as DT_RELR: pointers into the library itself. The run of pointers
// is long enough for several RELR bitmaps; the odd address cannot be packed.
#include "fixture.h"

static int values[4] = {10, 11, 12, 13};

#define FOUR &values[0], &values[1], &values[2], &values[3]
#define SIXTEEN FOUR, FOUR, FOUR, FOUR
static int* volatile run[] = {SIXTEEN, SIXTEEN, SIXTEEN, SIXTEEN, SIXTEEN, SIXTEEN, SIXTEEN,
                              SIXTEEN, SIXTEEN, SIXTEEN, SIXTEEN, SIXTEEN, SIXTEEN};

struct Gap {
  long number;
  int* volatile pointer;
};
static struct Gap gaps[] = {{1, &values[1]}, {2, &values[2]}, {3, &values[3]}};

static struct __attribute__((packed)) {
  char pad;
  int* volatile pointer;
} odd = {1, &values[3]};

FIXTURE int check(void) {
  for (unsigned i = 0; i < sizeof run / sizeof *run; ++i) EXPECT(run[i] == &values[i % 4]);
  for (int i = 0; i < 3; ++i) EXPECT(gaps[i].pointer == &values[i + 1] && gaps[i].number == i + 1);
  EXPECT(odd.pointer == &values[3] && *odd.pointer == 13);
  return 0;
}
