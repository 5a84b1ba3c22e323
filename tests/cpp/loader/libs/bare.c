// No start files, no initialisers, no calls: loading it runs none of its code. Has every table that the loader reads.
#include "fixture.h"
extern __thread int bare_tls;
FIXTURE __thread int bare_tls = 5;
FIXTURE int bare_data[4] = {1, 2, 3, 4};
FIXTURE int* bare_pointers[4] = {&bare_data[0], &bare_data[1], bare_data + 2, bare_data + 3};
static int local_data;
static int* volatile local_pointers[20] = {&local_data, &local_data, &local_data, &local_data};
extern int absent_weak(void) __attribute__((weak));
extern long strtol(const char*, char**, int);
FIXTURE int (*bare_weak)(void) = absent_weak;
FIXTURE long (*bare_system)(const char*, char**, int) = strtol;
FIXTURE int bare_function(void) { return bare_tls + *local_pointers[1] + *bare_pointers[2]; }
