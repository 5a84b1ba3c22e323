// -z initfirst: its constructor is the first to run of whatever is loaded with it, so this is when all of that was mapped and
// relocated.
#include <time.h>

__attribute__((visibility("default"))) struct timespec bench_constructed_at;

__attribute__((constructor)) static void note(void) { clock_gettime(CLOCK_MONOTONIC, &bench_constructed_at); }
