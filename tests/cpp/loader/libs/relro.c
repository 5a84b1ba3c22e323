// PT_GNU_RELRO: pointers that are constant after relocation are read-only.
#include <stdio.h>
#include <string.h>

#include "fixture.h"

static int value = 5;
static int* const constants[1024] = {&value, &value};  // two pages of .data.rel.ro
static int ordinary[2048] = {1};

static char permission(const void* address) {
  FILE* maps = fopen("/proc/self/maps", "r");
  char line[4096], result = '?';
  while (maps && fgets(line, sizeof line, maps)) {
    unsigned long begin, end;
    char access[5];
    if (sscanf(line, "%lx-%lx %4s", &begin, &end, access) != 3) continue;
    if (begin <= (unsigned long)address && (unsigned long)address < end) result = access[1];
  }
  if (maps) fclose(maps);
  return result;
}

FIXTURE int check(void) {
  int* const* volatile table = constants;
  EXPECT(table[0] == &value);
  EXPECT(permission(&table[1]) == '-');
  EXPECT(permission(&ordinary[1024]) == 'w');
  ordinary[1024] = 2;
  return 0;
}
