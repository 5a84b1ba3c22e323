#include "fixture.h"
struct Odd {
  int n;
};
static int fail() { throw Odd{3}; }
static int g_value = fail();
FIXTURE int check() { return g_value; }
