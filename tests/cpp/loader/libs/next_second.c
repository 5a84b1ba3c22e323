#include "fixture.h"
FIXTURE int wrapped(int n) { return n + 1; }
