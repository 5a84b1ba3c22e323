#include "fixture.h"
#ifdef STUB
FIXTURE int in_b(int n) { return n; }
#else
int in_a(int);
FIXTURE int in_b(int n) { return n == 0 ? 0 : 1 + in_a(n - 1); }
#endif
