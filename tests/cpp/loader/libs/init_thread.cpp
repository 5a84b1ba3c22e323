// An initialiser that waits for a thread, which looks up symbols, uses thread-local variables, registers a static object's
// destructor, lists the loaded libraries, opens and throws: all that must not wait for the load to end (dlopen itself may).
#include <dlfcn.h>
#include <link.h>

#include <stdexcept>
#include <thread>

#include "fixture.h"

namespace {

__thread int t_number __attribute__((tls_model("initial-exec"))) = 5;
int g_good = 0;

struct Counted {
  ~Counted() { --g_good; }
};

void body() {
  static Counted counted;
  (void)counted;
  if (t_number == 5) ++g_good;
  if (dlsym(RTLD_DEFAULT, "getpid")) ++g_good;
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(body), &info)) ++g_good;
  int objects = 0;
  dl_iterate_phdr([](dl_phdr_info*, size_t, void* n) { return ++*static_cast<int*>(n), 0; }, &objects);
  if (objects > 2) ++g_good;
  try {
    throw std::runtime_error("in a thread");
  } catch (const std::exception&) {
    ++g_good;
  }
}

const int g_run = (std::thread(body).join(), 0);

}  // namespace

FIXTURE int check() {
  EXPECT(g_good == 5 && g_run == 0);
  return 0;
}
