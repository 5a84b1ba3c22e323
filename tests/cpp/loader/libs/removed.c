#include "fixture.h"
int provided_function(int);
int later_removed(void);
#ifdef STUB
FIXTURE int later_removed(void) { return 1; }
#else
FIXTURE int check(void) { return provided_function(1) + later_removed(); }
#endif
