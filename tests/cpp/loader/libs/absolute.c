// R_X86_64_64: symbol plus addend, in data; and GLOB_DAT of the library's own exported symbols.
#include "fixture.h"

FIXTURE int array[8] = {0, 1, 2, 3, 4, 5, 6, 7};
FIXTURE int answer(void) { return 42; }

static int* volatile middle = &array[3];
static int* volatile past = &array[0] + 8;
static int (*volatile function)(void) = answer;

FIXTURE int check(void) {
  EXPECT(middle == array + 3 && *middle == 3);
  EXPECT(past == array + 8);
  EXPECT(function == answer && function() == 42);
  return 0;
}
