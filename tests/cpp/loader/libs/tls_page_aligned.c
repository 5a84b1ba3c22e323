// TLS aligned to a page.
#include <stdint.h>

#include "fixture.h"

static __thread _Alignas(4096) char page[4096] = "page";
static __thread char after = 'z';

FIXTURE int check(void) {
  char* volatile p = page;
  EXPECT((uintptr_t)p % 4096 == 0 && p[0] == 'p' && p[4095] == 0);
  char* volatile a = &after;
  EXPECT(*a == 'z');
  return 0;
}
