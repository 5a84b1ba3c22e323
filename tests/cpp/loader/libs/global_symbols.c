// References without a library that answers them: what defines them is loaded first, with RTLD_GLOBAL.
#include "fixture.h"

#if defined(DEFINES)
FIXTURE int global_data = 5;
FIXTURE __thread int global_thread_data = 3;
FIXTURE int global_number(void) { return global_data++; }
#elif defined(NEEDS_SHARED)
void* plain_address(void);
FIXTURE void* address_below(void) { return plain_address(); }
#elif defined(ABOVE)
int uses_global(void);
FIXTURE int through(void) { return uses_global(); }
#elif defined(WEAK)
__attribute__((weak)) int global_number(void);
FIXTURE int has_global(void) { return global_number ? global_number() : -1; }
#elif defined(THREAD)
extern __thread int global_thread_data;
FIXTURE int uses_global_thread_data(void) { return ++global_thread_data; }
#else
extern int global_data;
int global_number(void);
FIXTURE int uses_global(void) { return 100 * global_number() + global_data; }
#endif
