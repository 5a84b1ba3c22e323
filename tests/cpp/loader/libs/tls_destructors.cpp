// C++ thread_local: constructed at first use, destroyed in reverse order when the thread ends; the destructor of one may use
// another and make a new one.
#include <thread>

#include "fixture.h"

namespace {

int g_log[8];
int g_size;
void log(int n) {
  if (g_size < 8) g_log[g_size++] = n;
}

struct Late {
  Late() { log(30); }
  ~Late() { log(31); }
};
struct First {
  int value = 5;
  First() { log(10); }
  ~First() {
    thread_local Late late;
    log(11);
    (void)late;
  }
};
thread_local First t_first;
struct Second {
  Second() { log(20); }
  ~Second() { log(t_first.value == 5 ? 21 : -1); }
};

}  // namespace

FIXTURE int check() {
  g_size = 0;
  std::thread([] {
    (void)t_first.value;
    thread_local Second second;
    (void)second;
  }).join();
  const int expected[] = {10, 20, 21, 30, 11, 31};
  EXPECT(g_size == 6);
  for (int i = 0; i < 6; ++i) EXPECT(g_log[i] == expected[i]);
  return 0;
}
