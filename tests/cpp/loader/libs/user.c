// References to another library: JUMP_SLOT (or GLOB_DAT under -fno-plt) for calls, GLOB_DAT for data, 64 with addend in data; and
// to the C library, by version.
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

extern int provided_data;
extern int provided_table[4];
extern int provided_function(int);

static int* volatile third = &provided_table[2];
static int (*volatile function)(int) = provided_function;

FIXTURE int check(void) {
  provided_data = 7;
  EXPECT(provided_function(3) == 10);
  provided_data = 8;
  EXPECT(provided_function(3) == 11);
  EXPECT(third == provided_table + 2 && *third == 3);
  EXPECT(function == provided_function && function(0) == 8);
  char* copy = strdup("text");
  EXPECT(copy && strlen(copy) == 4);
  free(copy);
  return 0;
}
