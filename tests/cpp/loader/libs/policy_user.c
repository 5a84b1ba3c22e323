#include "fixture.h"
void* plain_address(void);
FIXTURE void* address_seen(void) { return plain_address(); }
#ifdef USES_API
int leaf(void);
FIXTURE int uses_leaf(void) { return leaf(); }
#endif
