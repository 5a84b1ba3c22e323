// libdl on behalf of a test: what private code sees.
#include <dlfcn.h>

#include "fixture.h"

FIXTURE void* open_library(const char* path, int flags) { return dlopen(path, flags); }
FIXTURE void* find_symbol(void* handle, const char* name) { return dlsym(handle, name); }
FIXTURE int close_library(void* handle) { return dlclose(handle); }
FIXTURE const char* last_error(void) { return dlerror(); }
