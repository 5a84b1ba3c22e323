// Says at which address its own copy lies.
#include "fixture.h"
FIXTURE int plain_data = 0;
FIXTURE void* plain_address(void) { return &plain_data; }
