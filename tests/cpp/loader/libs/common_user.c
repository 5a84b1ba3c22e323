#include "fixture.h"

int* common_of_a(void);
int* common_of_b(void);

FIXTURE int check(void) {
  EXPECT(common_of_a() == common_of_b());
  return 0;
}
