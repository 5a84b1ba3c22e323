// Initialisers get what main gets.
#include <stdlib.h>

#include "fixture.h"

static int g_count = -1;
static int g_good;

__attribute__((constructor)) static void initialise(int count, char** arguments, char** environment) {
  g_count = count;
  g_good = arguments != 0 && arguments[0] != 0 && arguments[count] == 0 && environment != 0;
}

FIXTURE int check(void) {
  EXPECT(g_count >= 1);
  EXPECT(g_good);
  return 0;
}
