// pthread_atfork handlers go with their library.
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

static int prepared, in_parent, in_child;
static void prepare(void) { ++prepared; }
static void parent(void) { ++in_parent; }
static void child(void) { ++in_child; }

__attribute__((constructor)) static void initialise(void) { pthread_atfork(prepare, parent, child); }

FIXTURE int check(void) {
  prepared = in_parent = in_child = 0;
  const pid_t pid = fork();
  if (pid == 0) _exit(prepared == 1 && in_child == 1 && in_parent == 0 ? 0 : 1);
  int status = -1;
  EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT(prepared == 1 && in_parent == 1 && in_child == 0);
  return 0;
}
