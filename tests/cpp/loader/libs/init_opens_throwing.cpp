// dlopen of a library whose initialiser throws gives an error, and nothing of the exception is left in flight.
#include <dlfcn.h>

#include <cstring>
#include <exception>

#include "fixture.h"

FIXTURE int check() {
  EXPECT(dlopen("libfx_init_throws.so", RTLD_NOW) == nullptr);
  const char* error = dlerror();
  EXPECT(error && std::strstr(error, "no such device"));
  EXPECT(std::uncaught_exceptions() == 0);
  EXPECT(!std::current_exception());
  try {
    throw 5;
  } catch (int n) {
    EXPECT(n == 5);
  }
  return 0;
}
