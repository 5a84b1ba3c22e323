#include "fixture.h"
FIXTURE __thread int shared_tls = 1;
FIXTURE __thread int shared_tls_second = 77;
FIXTURE int* address_of_shared_tls(void) { return &shared_tls; }
