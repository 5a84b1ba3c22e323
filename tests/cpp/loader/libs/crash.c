// Code that crashes, or calls back, a few frames deep.
#include "fixture.h"

FIXTURE int fall(volatile int* address, int depth) {
  if (depth > 0) {
    const int result = fall(address, depth - 1);
    __asm__ volatile("");
    return result;
  }
  return *address = 1;
}

FIXTURE int check(void) {
  int target;
  return fall(&target, 5) - 1;
}
