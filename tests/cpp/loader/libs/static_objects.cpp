// Objects with static storage: destroyed in the reverse order of construction when the library goes, local statics among them.
#include "fixture.h"
#include "lifecycle.h"

namespace {

struct Logged {
  int number;
  explicit Logged(int n) : number(n) { host_log(n); }
  ~Logged() { host_log(-number); }
};

Logged g_first(1);
Logged g_second(2);
Logged& local() {
  static Logged object(3);
  return object;
}

}  // namespace

FIXTURE int check() {
  EXPECT(local().number == 3);
  return 0;
}
