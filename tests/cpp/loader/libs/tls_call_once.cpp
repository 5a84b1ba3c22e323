// std::call_once passes its function through thread-local variables of libstdc++.
#include <mutex>

#include "fixture.h"

namespace {
std::once_flag g_once;
int g_calls = 0;
}  // namespace

FIXTURE int check() {
  for (int i = 0; i < 3; ++i) std::call_once(g_once, [] { ++g_calls; });
  EXPECT(g_calls == 1);
  return 0;
}
