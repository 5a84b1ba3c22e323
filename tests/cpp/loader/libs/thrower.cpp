#include "fixture.h"
#include "throw_type.h"

FIXTURE void throw_cross(int code) { throw CrossError("across", code); }
FIXTURE void call_through(void (*callback)(void*), void* argument) {
  struct Guard {
    int* n;
    ~Guard() { ++*n; }
  } guard{static_cast<int*>(argument)};
  callback(argument);
}
FIXTURE Shape* make_circle() { return new Circle; }
