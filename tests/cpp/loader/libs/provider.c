// Defines what user.c uses.
#include "fixture.h"

FIXTURE int provided_data = 7;
FIXTURE int provided_table[4] = {1, 2, 3, 4};
FIXTURE int provided_function(int x) { return x + provided_data; }
