#include "fixture.h"
int where(void);
FIXTURE int found(void) { return where(); }
