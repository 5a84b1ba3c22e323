#include "fixture.h"

FIXTURE int fixture_writes(void) {
  static int count = 0;
  return ++count;
}
