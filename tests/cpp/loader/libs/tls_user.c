// Thread-local variables of another library, and through its functions: both see the same block.
#include "fixture.h"

extern __thread int shared_tls;
extern __thread int shared_tls_second;
int* address_of_shared_tls(void);

FIXTURE int check(void) {
  EXPECT(&shared_tls == address_of_shared_tls());
  shared_tls = 5;
  EXPECT(*address_of_shared_tls() == 5);
  EXPECT(&shared_tls_second != &shared_tls && shared_tls_second == 77);
  return 0;
}
