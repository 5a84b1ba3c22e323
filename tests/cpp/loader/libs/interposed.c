// Defines which(), and says which one its own call reaches. Built several times with another NUMBER, and other ways to bind a call.
#include "fixture.h"

#ifndef VISIBILITY
#define VISIBILITY "default"
#endif
__attribute__((visibility(VISIBILITY), noinline, noclone)) int which(void) {
  __asm__ volatile("");
  return NUMBER;
}
#define NAME2(n) reached_by_##n
#define NAME(n) NAME2(n)
FIXTURE int NAME(NUMBER)(void) { return which(); }
