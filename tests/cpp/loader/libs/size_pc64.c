#include "fixture.h"

extern long sized[3];
extern unsigned long size_of_sized, size_plus_two;
extern long distance, distance_plus_eight;

FIXTURE int check(void) {
  EXPECT(size_of_sized == 24);
  EXPECT(size_plus_two == 26);
  EXPECT((char*)&distance + distance == (char*)sized);
  EXPECT((char*)&distance_plus_eight + distance_plus_eight == (char*)(sized + 1));
  return 0;
}
