// For LD_PRELOAD: a function of the C library, without a version, in front of the C library's. It needs a version of another.
#include <stdlib.h>

#include "fixture.h"

FIXTURE int getpagesize(void) { return abs(-12345); }
