// A COMMON symbol (-fcommon): a definition as any other once linked, and one in the whole scope.
#include "fixture.h"

int common_symbol __attribute__((visibility("default")));
FIXTURE int* COMMON_OF(void) { return &common_symbol; }
