// An initialiser that opens a library, which needs one of this load that has not been initialised yet.
#include <dlfcn.h>

#include "fixture.h"
#include "lifecycle.h"

#if PART == 1
__attribute__((constructor)) static void initialise(void) {
  host_log(1);
  void* opened = dlopen("libfx_init_nested_opened.so", RTLD_NOW);
  host_log(opened ? 2 : -2);
}
FIXTURE int part_1(void) { return 1; }
#elif PART == 2
__attribute__((constructor)) static void initialise(void) { host_log(3); }
FIXTURE int part_2(void) { return 2; }
#elif PART == 3
int part_2(void);
__attribute__((constructor)) static void initialise(void) { host_log(part_2() == 2 ? 4 : -4); }
FIXTURE int part_3(void) { return 3; }
#else
int part_1(void);
int part_2(void);
__attribute__((constructor)) static void initialise(void) { host_log(5); }
FIXTURE int check(void) { return part_1() + part_2() - 3; }
#endif
