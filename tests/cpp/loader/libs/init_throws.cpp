// An initialiser that throws.
#include <stdexcept>

#include "fixture.h"
#include "lifecycle.h"

struct Guard {
  ~Guard() { host_log(2); }
};

__attribute__((constructor(200))) static void before() { host_log(1); }

__attribute__((constructor)) static void initialise() {
  const Guard guard;
  throw std::runtime_error("no such device");
}
__attribute__((constructor(65535))) static void after() { host_log(99); }

FIXTURE int check() { return 0; }
