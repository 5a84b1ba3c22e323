// Handlers of signals, and an alternate stack.
#include <signal.h>
#include <stdlib.h>

#include "fixture.h"

static volatile int hits;
static struct sigaction found;

static void on_signal(int number) {
  (void)number;
  ++hits;
}

// Passes the signal on, as faulthandler does.
static void on_signal_once(int number) {
  ++hits;
  sigaction(number, &found, NULL);
  raise(number);
}

static int install(void (*handler)(int), int flags) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
  return sigaction(SIGUSR1, &action, &found);
}

FIXTURE int set(void) { return install(on_signal, 0); }
FIXTURE int set_chained(void) { return install(on_signal_once, SA_NODEFER); }
FIXTURE int set_by_signal(void) { return signal(SIGUSR1, on_signal) == SIG_ERR; }
FIXTURE int set_once(void) { return install(on_signal, SA_RESETHAND); }
FIXTURE int ignore(void) { return signal(SIGUSR1, SIG_IGN) == SIG_ERR; }
FIXTURE int set_default(void) { return signal(SIGUSR1, SIG_DFL) == SIG_ERR; }
FIXTURE int restore(void) { return sigaction(SIGUSR1, &found, NULL); }
FIXTURE int seen(void) { return hits; }
FIXTURE int found_default(void) { return found.sa_handler == SIG_DFL; }
FIXTURE int is_own(void) {
  struct sigaction now;
  return sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_handler == on_signal;
}

static char* stack;

FIXTURE int set_stack(void) {
  stack = malloc(1 << 16);
  const stack_t wanted = {.ss_sp = stack, .ss_size = 1 << 16};
  stack_t now;
  if (sigaltstack(&wanted, NULL) != 0 || sigaltstack(NULL, &now) != 0) return 1;
  return now.ss_sp != stack || now.ss_size != 1 << 16 || now.ss_flags != 0;
}

FIXTURE int drop_stack(void) {
  const stack_t none = {.ss_flags = SS_DISABLE};
  stack_t now;
  if (sigaltstack(&none, NULL) != 0 || sigaltstack(NULL, &now) != 0) return 1;
  free(stack);
  return 0;
}

FIXTURE int check(void) {
  struct sigaction before, after;
  EXPECT(sigaction(SIGUSR2, NULL, &before) == 0);
  hits = 0;
  EXPECT(signal(SIGUSR2, on_signal) == before.sa_handler);
  raise(SIGUSR2);
  EXPECT(hits == 1);
  EXPECT(sigaction(SIGUSR2, NULL, &after) == 0 && after.sa_handler == on_signal && (after.sa_flags & SA_RESTART));
  EXPECT(siginterrupt(SIGUSR2, 1) == 0);
  EXPECT(sigaction(SIGUSR2, NULL, &after) == 0 && !(after.sa_flags & SA_RESTART));
  EXPECT(siginterrupt(SIGUSR2, 0) == 0);
  EXPECT(sigset(SIGUSR2, SIG_HOLD) == on_signal);
  raise(SIGUSR2);
  EXPECT(hits == 1);
  EXPECT(sigset(SIGUSR2, on_signal) == SIG_HOLD);
  EXPECT(hits == 2);
  EXPECT(sigaction(SIGUSR2, &before, &after) == 0 && after.sa_handler == on_signal);
  EXPECT(sigaction(SIGKILL, &before, NULL) == -1 && sigaction(0, NULL, &after) == -1 && sigaction(65, &before, NULL) == -1);
  return 0;
}
