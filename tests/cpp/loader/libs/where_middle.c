#include "fixture.h"
int where(void);
FIXTURE int middle(void) { return where(); }
