// thread_local objects of the thread that unloads are destroyed then.
#include "fixture.h"
#include "lifecycle.h"

namespace {
struct Logged {
  int value = 4;
  ~Logged() { host_log(77); }
};
thread_local Logged t_logged;
}  // namespace

FIXTURE int check() {
  EXPECT(t_logged.value == 4);
  return 0;
}
