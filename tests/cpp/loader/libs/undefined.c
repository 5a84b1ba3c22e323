// Refers to what nobody defines.
#include "fixture.h"
extern int nobody_defines_this(int);
FIXTURE int check(void) { return nobody_defines_this(1); }
