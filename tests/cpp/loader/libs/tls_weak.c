// A weak thread-local reference to nothing: the library loads, as the address is not asked for.
#include "fixture.h"

extern __thread int absent_tls __attribute__((weak));
FIXTURE int* address_of_absent_tls(void) { return &absent_tls; }
FIXTURE int check(void) { return 0; }
