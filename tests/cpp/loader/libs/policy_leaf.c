// Uses an API that only a namespace's own library may define.
#include "fixture.h"
#ifdef DEFINES
FIXTURE int Api_number(void) { return 11; }
#else
extern int Api_number(void);
FIXTURE int leaf(void) { return Api_number(); }
#endif
