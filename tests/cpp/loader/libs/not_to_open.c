// -z nodlopen (DF_1_NOOPEN), and -pie (DF_1_PIE): files that are no libraries for dlopen.
#include "fixture.h"
FIXTURE int check(void) { return 0; }
int main(void) { return 0; }
