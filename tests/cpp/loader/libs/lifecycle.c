// Everything that runs at load and unload, in one library: DT_INIT, constructors with priorities, the init array; destructors, exit
// handlers, DT_FINI. NUMBER tells several such libraries apart.
#include "lifecycle.h"

#include <stdlib.h>

#include "fixture.h"

FIXTURE void custom_init(void) { host_log(NUMBER + 1); }
FIXTURE void custom_fini(void) { host_log(NUMBER + 9); }

__attribute__((constructor(102))) static void second(void) { host_log(NUMBER + 3); }
__attribute__((constructor(101))) static void first(void) { host_log(NUMBER + 2); }

static void late(void) { host_log(NUMBER + 6); }
static void at_exit(void) {
  host_log(NUMBER + 5);
  atexit(late);
}
__attribute__((constructor)) static void last(void) {
  host_log(NUMBER + 4);
  atexit(at_exit);
}
__attribute__((destructor(101))) static void last_destructor(void) { host_log(NUMBER + 8); }
__attribute__((destructor)) static void first_destructor(void) { host_log(NUMBER + 7); }

#ifdef NEEDS
int NEEDS(void);
#endif
FIXTURE int EXPORTS(void) {
#ifdef NEEDS
  return NEEDS() + 1;
#else
  return 0;
#endif
}
