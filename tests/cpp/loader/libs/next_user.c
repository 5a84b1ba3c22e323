#include "fixture.h"
int wrapped(int);
int next_of_absent(void);
FIXTURE int check(void) {
  EXPECT(wrapped(5) == 1006);
  EXPECT(next_of_absent());
  return 0;
}
