#include "fixture.h"

extern long target;
long* address_from_code(void);

FIXTURE int check(void) {
  EXPECT(address_from_code() == &target);
  EXPECT(*address_from_code() == 99);
  return 0;
}
