// Built twice with another NUMBER; one of them with -Bsymbolic-functions (its functions are its own, its data is everybody's) or
// lld's -Bsymbolic-non-weak-functions (and so is a weak function).
#include "fixture.h"

int shared_number = NUMBER;
__attribute__((noinline)) int strong_function(void) {
  __asm__ volatile("");
  return NUMBER;
}
__attribute__((noinline, weak)) int weak_function(void) {
  __asm__ volatile("");
  return NUMBER;
}
#define NAME2(what, n) what##_of_##n
#define NAME(what, n) NAME2(what, n)
FIXTURE int NAME(number, NUMBER)(void) { return shared_number; }
FIXTURE int NAME(strong, NUMBER)(void) { return strong_function(); }
FIXTURE int NAME(weak, NUMBER)(void) { return weak_function(); }
