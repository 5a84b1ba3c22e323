// A frame of C (built with -fexceptions) that an exception passes.
#include "fixture.h"
void throw_cross(int);
FIXTURE int pass_through(int code) {
  throw_cross(code);
  return 1;
}
