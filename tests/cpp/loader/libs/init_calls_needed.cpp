// An initialiser that uses the objects of the library it needs: they are constructed by then.
#include "fixture.h"

struct Constructed {
  int value;
  explicit Constructed(int v) : value(v) {}
};

#ifdef NEEDED
FIXTURE int ready();
FIXTURE Constructed* constructed();
Constructed g_constructed(ready() + 4);
FIXTURE int ready() { return 1; }
FIXTURE Constructed* constructed() { return &g_constructed; }
#else
extern "C" Constructed* constructed();
int g_seen = constructed()->value;
FIXTURE int check() {
  EXPECT(g_seen == 5);
  return 0;
}
#endif
