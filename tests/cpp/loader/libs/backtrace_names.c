// glibc's backtrace() walks through private frames, and backtrace_symbols() names their library and function.
#include <execinfo.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"

FIXTURE int backtrace_here(void** frames, int size);

__attribute__((noinline)) int backtrace_here(void** frames, int size) {
  const int count = backtrace(frames, size);
  __asm__ volatile("");
  return count;
}

FIXTURE int check(void) {
  void* frames[64];
  const int count = backtrace_here(frames, 64);
  EXPECT(count >= 3);
  char** names = backtrace_symbols(frames, count);
  EXPECT(names);
  const int here = strstr(names[0], "libfx_backtrace_names.so(backtrace_here+0x") != 0;
  const int caller = strstr(names[1], "libfx_backtrace_names.so(check+0x") != 0;
  free(names);
  EXPECT(here && caller);
  int ends[2];
  EXPECT(pipe(ends) == 0);
  backtrace_symbols_fd(frames, 2, ends[1]);
  close(ends[1]);
  char text[4096];
  ssize_t size = 0, more;
  while ((more = read(ends[0], text + size, sizeof text - 1 - (size_t)size)) > 0) size += more;
  text[size] = 0;
  close(ends[0]);
  EXPECT(strstr(text, "(backtrace_here+0x") && strstr(text, "(check+0x"));
  return 0;
}
