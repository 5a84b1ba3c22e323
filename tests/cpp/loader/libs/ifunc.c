// STT_GNU_IFUNC: exported (JUMP_SLOT, GLOB_DAT and 64 against it), local (IRELATIVE), and with a resolver that itself calls through
// the PLT of its library, which must be relocated by then.
#include <string.h>

#include "fixture.h"

FIXTURE int choice(void) { return 2; }

static int first(void) { return 1; }
static int second(void) { return 2; }
typedef int (*Function)(void);

static Function resolve_exported(void) { return choice() == 2 ? second : first; }
FIXTURE int exported_ifunc(void) __attribute__((ifunc("resolve_exported")));

static Function resolve_local(void) { return strlen("xx") == 2 ? second : first; }
static int local_ifunc(void) __attribute__((ifunc("resolve_local")));

static Function volatile exported_pointer = exported_ifunc;
static Function volatile local_pointer = local_ifunc;

FIXTURE int check(void) {
  EXPECT(exported_ifunc() == 2);
  EXPECT(local_ifunc() == 2);
  EXPECT(exported_pointer() == 2);
  EXPECT(local_pointer() == 2);
  return 0;
}
