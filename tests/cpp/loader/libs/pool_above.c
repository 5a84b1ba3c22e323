// A shared library that needs one with threads, and has none.
#include "fixture.h"
int pool_run(int (*function)(void));
static int job(void) { return 7; }
FIXTURE int above_run(void) { return pool_run(job); }
