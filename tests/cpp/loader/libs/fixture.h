// What every fixture library exports. A library is one behaviour of the ELF format or of the C run time; its check function says
// whether the loader that loaded it got it right.
#pragma once

#ifdef __cplusplus
#define FIXTURE extern "C" __attribute__((visibility("default")))
#else
#define FIXTURE __attribute__((visibility("default")))
#endif

// In a check function, which returns 0 or the line of the first expectation that does not hold.
#define EXPECT(condition)              \
  do {                                 \
    if (!(condition)) return __LINE__; \
  } while (0)

// How often this copy of the library was asked: every namespace counts for itself.
FIXTURE int fixture_writes(void);
