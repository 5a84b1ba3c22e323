#include "fixture.h"
int middle(void);
FIXTURE int found(void) { return middle(); }
