// Two versions of one function, and one that exists in the second only.
#include "fixture.h"

#ifdef OLD
FIXTURE int versioned(void) { return 1; }
#elif defined(FUTURE)
FIXTURE int versioned(void) { return 3; }
#else
__asm__(".symver versioned_old, versioned@V1");
__asm__(".symver versioned_new, versioned@@V2");
FIXTURE int versioned_old(void) { return 1; }
FIXTURE int versioned_new(void) { return 2; }
FIXTURE int only_in_v2(void) { return 22; }
#endif
