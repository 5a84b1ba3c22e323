// A library that stays after its last dlclose, each time for another reason.
#include <pthread.h>
#include <semaphore.h>

#include "fixture.h"
#include "lifecycle.h"

namespace {

struct Noisy {
  int number;
  ~Noisy() { host_log(number); }
};
Noisy g_object{REASON * 10};

#if REASON == 1
thread_local Noisy t_object{11};
#endif

sem_t g_go;

}  // namespace

#if REASON == 2
template <class T>
struct Unique {
  static inline int value = 7;
};
FIXTURE int* pin() { return &Unique<int>::value; }
#elif REASON == 1
FIXTURE int* pin() { return &t_object.number; }
#else
FIXTURE int* pin() {
  sem_init(&g_go, 0, 0);
  pthread_t thread;
  pthread_create(&thread, nullptr, [](void*) -> void* { return sem_wait(&g_go), nullptr; }, nullptr);
  pthread_detach(thread);
  return &g_object.number;
}
#endif
FIXTURE int release() { return sem_post(&g_go); }
