#include "fixture.h"
extern int shared_count;
FIXTURE int SIDE(void) { return ++shared_count; }
