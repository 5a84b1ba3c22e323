// Where a fixture notes what ran when: the program that loads it defines this, and outlives it.
#pragma once
#ifdef __cplusplus
extern "C"
#endif
    void host_log(int event);
