// Two ways to one library lead to one copy.
#include "fixture.h"

int left(void);
int right(void);
extern int shared_count;

FIXTURE int check(void) {
  const int before = shared_count;
  EXPECT(left() == before + 1);
  EXPECT(right() == before + 2);
  EXPECT(shared_count == before + 2);
  return 0;
}
