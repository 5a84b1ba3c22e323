// The first definition in the scope is everybody's, unless a library binds to its own (-Bsymbolic, protected, hidden).
#include "fixture.h"

int which(void);
int reached_by_1(void);
int reached_by_2(void);

FIXTURE int check(void) {
  EXPECT(which() == 1);
  EXPECT(reached_by_1() == 1);
  EXPECT(reached_by_2() == EXPECTED);
  return 0;
}
