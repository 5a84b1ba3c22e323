// The unwinder walks through private frames.
#include <stdint.h>
#include <unwind.h>

#include "fixture.h"

struct Seen {
  int frames;
  int outer;
};
FIXTURE int check(void);

static _Unwind_Reason_Code step(struct _Unwind_Context* context, void* argument) {
  struct Seen* seen = argument;
  const uintptr_t at = _Unwind_GetIP(context), begin = (uintptr_t)_Unwind_FindEnclosingFunction((void*)(at - 1));
  if (begin == (uintptr_t)check) seen->outer = 1;
  ++seen->frames;
  return _URC_NO_REASON;
}

__attribute__((noinline)) static void recurse(int depth, struct Seen* seen) {
  if (depth > 0) {
    recurse(depth - 1, seen);
  } else {
    _Unwind_Backtrace(step, seen);
  }
  __asm__ volatile("");
}

FIXTURE int check(void) {
  struct Seen seen = {0, 0};
  recurse(10, &seen);
  EXPECT(seen.frames > 12);
  EXPECT(seen.outer);
  return 0;
}
