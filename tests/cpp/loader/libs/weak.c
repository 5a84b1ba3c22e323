// Weak references: to nothing, to a library's definition, to the C library's; and a weak definition, which is as good as any.
#include <string.h>

#include "fixture.h"

extern int absent_function(void) __attribute__((weak));
extern int absent_data __attribute__((weak));
extern int provided_data __attribute__((weak));
extern size_t strlen(const char*) __attribute__((weak));

static int* volatile absent_pointer = &absent_data;
static int (*volatile absent_function_pointer)(void) = absent_function;
FIXTURE __attribute__((weak)) int weak_definition(void) { return 3; }

FIXTURE int check(void) {
  EXPECT(!absent_function && !absent_function_pointer);
  EXPECT(!&absent_data && !absent_pointer);
  EXPECT(&provided_data && provided_data > 0);
  size_t (*volatile length)(const char*) = strlen;
  EXPECT(length && length("abc") == 3);
  EXPECT(weak_definition() == 3);
  return 0;
}
