// An IFUNC symbol of another library: called, and its address taken twice.
#include "fixture.h"

int exported_ifunc(void);
static int (*volatile pointer)(void) = exported_ifunc;

FIXTURE int check(void) {
  EXPECT(exported_ifunc() == 2);
  EXPECT(pointer() == 2);
  EXPECT(pointer == exported_ifunc);
  return 0;
}
