// What the second of two libraries with the same names reaches, where it was linked to prefer its own functions.
#include "fixture.h"

int number_of_1(void), strong_of_1(void), weak_of_1(void);
int number_of_2(void), strong_of_2(void), weak_of_2(void);

FIXTURE int check(void) {
  EXPECT(number_of_1() == 1 && strong_of_1() == 1 && weak_of_1() == 1);
  EXPECT(number_of_2() == 1);
  EXPECT(strong_of_2() == 2);
  EXPECT(weak_of_2() == WEAK);
  return 0;
}
