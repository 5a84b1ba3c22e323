// One library in several folders, each saying which it is.
#include "fixture.h"
FIXTURE int where(void) { return NUMBER; }
