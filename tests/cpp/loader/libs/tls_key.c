// A destructor of a pthread key still finds the thread's variables, in later rounds too.
#include <pthread.h>

#include "fixture.h"

static __thread int state = 3;
static int seen[3];
static int rounds;
static pthread_key_t key;

static void at_exit(void* value) {
  if (rounds < 3) seen[rounds] = state;
  state += 10;
  if (++rounds < 3) pthread_setspecific(key, value);
}

static void* body(void* unused) {
  state = 100;
  pthread_setspecific(key, &key);
  return unused;
}

FIXTURE int check(void) {
  rounds = 0;
  EXPECT(pthread_key_create(&key, at_exit) == 0);
  pthread_t thread;
  EXPECT(pthread_create(&thread, 0, body, 0) == 0);
  EXPECT(pthread_join(thread, 0) == 0);
  EXPECT(pthread_key_delete(key) == 0);
  EXPECT(rounds == 3 && seen[0] == 100 && seen[1] == 110 && seen[2] == 120);
  return 0;
}
