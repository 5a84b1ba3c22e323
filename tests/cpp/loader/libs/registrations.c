// What the C library keeps for a library: timers, functions for the end of the process, pointers.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"

void host_log(int event);

FIXTURE int start_alarm(void) { return (int)alarm(1000); }

FIXTURE int start_interval_timer(void) {
  const struct itimerval every = {{1000, 0}, {500, 0}};
  return setitimer(ITIMER_VIRTUAL, &every, NULL) + setitimer(ITIMER_PROF, &every, NULL);
}

static timer_t timer;
static volatile int notified;
static void on_timer(union sigval value) {
  (void)value;
  ++notified;
}

FIXTURE int start_timer(void) {
  struct sigevent event = {.sigev_notify = SIGEV_THREAD};
  event.sigev_notify_function = on_timer;
  const struct itimerspec every = {{0, 1000000}, {0, 1000000}};
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 || timer_settime(timer, 0, &every, NULL) != 0) return 1;
  while (notified == 0) usleep(1000);
  return 0;
}

static void on_exit_function(int status, void* argument) { host_log(status + *(int*)argument); }
static int argument = 31;
FIXTURE int register_on_exit(void) { return on_exit(on_exit_function, &argument); }

static void on_quick_exit(void) { write(1, "quick", 5); }
FIXTURE int register_quick_exit(void) { return at_quick_exit(on_quick_exit); }

FIXTURE int keep_pointers(void) {
  char* variable = strdup("DEPLOY_TEST_PUT=kept");
  char* ident = strdup("deploy-test-ident");
  openlog(ident, LOG_NDELAY, LOG_USER);
  if (putenv(variable) != 0) return 1;
  memset(variable, 'x', strlen(variable));
  memset(ident, 'x', strlen(ident));
  static char buffer[4096];
  return setvbuf(stderr, buffer, _IOLBF, sizeof buffer);
}

// What this library reads of variable DEPLOY_TEST_OWN, as a number; -1: it is not there.
FIXTURE int read_own(void) {
  const char* value = getenv("DEPLOY_TEST_OWN");
  return value == NULL ? -1 : atoi(value);
}
FIXTURE int read_own_securely(void) {
  const char* value = secure_getenv("DEPLOY_TEST_OWN");
  return value == NULL ? -1 : atoi(value);
}
FIXTURE int set_own_1(void) { return setenv("DEPLOY_TEST_OWN", "1", 1); }
FIXTURE int set_own_2(void) { return setenv("DEPLOY_TEST_OWN", "2", 1); }
FIXTURE int set_own_3_if_absent(void) { return setenv("DEPLOY_TEST_OWN", "3", 0); }
FIXTURE int put_own_4(void) {
  char text[] = "DEPLOY_TEST_OWN=4";
  return putenv(text);
}
FIXTURE int unset_own(void) { return unsetenv("DEPLOY_TEST_OWN"); }
FIXTURE int set_nothing(void) { return setenv("DEPLOY=TEST", "1", 1) == -1 && setenv("", "1", 0) == -1; }
