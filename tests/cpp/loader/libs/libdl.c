// The namespace's own libdl, as one library sees it.
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"

FIXTURE int exported_data = 4;
FIXTURE int check_names(void);

FIXTURE int check_names(void) {
  Dl_info info;
  EXPECT(dladdr((char*)check_names + 1, &info) != 0);
  EXPECT(info.dli_sname && strcmp(info.dli_sname, "check_names") == 0 && info.dli_saddr == (void*)check_names);
  EXPECT(info.dli_fname && strstr(info.dli_fname, "libfx_libdl.so"));
  EXPECT(info.dli_fbase && memcmp(info.dli_fbase, "\177ELF", 4) == 0);
  EXPECT(dladdr(&exported_data, &info) && strcmp(info.dli_sname, "exported_data") == 0);
  struct link_map* map = 0;
  EXPECT(dladdr1((void*)check_names, &info, (void**)&map, RTLD_DL_LINKMAP) && map);
  EXPECT(map->l_addr == (uintptr_t)info.dli_fbase && strcmp(map->l_name, info.dli_fname) == 0 && map->l_ld);
  const ElfW(Sym)* symbol = 0;
  EXPECT(dladdr1(&exported_data, &info, (void**)&symbol, RTLD_DL_SYMENT) && symbol && symbol->st_size == 4);
  EXPECT(dladdr((void*)getpid, &info) && strstr(info.dli_fname, "libc"));
  int on_stack = 0;
  EXPECT(dladdr(&on_stack, &info) == 0);
  return 0;
}

FIXTURE int check_open(void) {
  static int opened = 0;  // once found by RTLD_DEFAULT, it may stay
  if (!opened) EXPECT(dlopen("libfx_provider.so", RTLD_NOW | RTLD_NOLOAD) == 0);
  void* first = dlopen("libfx_provider.so", RTLD_NOW | RTLD_LOCAL);
  EXPECT(first);
  int* data = dlsym(first, "provided_data");
  EXPECT(data);
  if (!opened) EXPECT(dlsym(RTLD_DEFAULT, "provided_data") == 0);
  opened = 1;
  EXPECT(dlopen("libfx_provider.so", RTLD_LAZY) == first);
  void* again = dlopen("libfx_provider.so", RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
  EXPECT(again == first);
  EXPECT(dlsym(RTLD_DEFAULT, "provided_data") == data);
  struct link_map* map = 0;
  EXPECT(dlinfo(first, RTLD_DI_LINKMAP, &map) == 0 && map && strstr(map->l_name, "libfx_provider.so"));
  char origin[4096];
  EXPECT(dlinfo(first, RTLD_DI_ORIGIN, origin) == 0 && origin[0] == '/' && access(origin, F_OK) == 0);
  for (int i = 0; i < 3; ++i) EXPECT(dlclose(first) == 0);
  return 0;
}

static __thread int thread_local_number = 3;

FIXTURE int check_info(void) {
  Dl_info own;
  EXPECT(dladdr((void*)check_info, &own));
  void* self = dlopen(own.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  EXPECT(self);
  Lmid_t space = -1;
  EXPECT(dlinfo(self, RTLD_DI_LMID, &space) == 0 && space == LM_ID_BASE);
  size_t module = 0;
  void* block = 0;
  EXPECT(thread_local_number == 3);  // now the thread has a block
  EXPECT(dlinfo(self, RTLD_DI_TLS_MODID, &module) == 0 && module != 0);
  EXPECT(dlinfo(self, RTLD_DI_TLS_DATA, &block) == 0 && block);
  EXPECT((char*)&thread_local_number >= (char*)block && (char*)&thread_local_number < (char*)block + 64);
  const ElfW(Phdr)* headers = 0;
  const int count = dlinfo(self, 11 /* RTLD_DI_PHDR */, &headers);
  EXPECT(count > 3 && headers);
  int loads = 0;
  for (int i = 0; i < count; ++i) loads += headers[i].p_type == PT_LOAD;
  EXPECT(loads > 0);
  union {
    Dl_serinfo info;
    char room[8192];
  } search;
  EXPECT(dlinfo(self, RTLD_DI_SERINFOSIZE, &search.info) == 0);
  EXPECT(search.info.dls_cnt >= 1 && search.info.dls_size < sizeof search);
  EXPECT(dlinfo(self, RTLD_DI_SERINFO, &search.info) == 0);
  char origin[4096];
  EXPECT(dlinfo(self, RTLD_DI_ORIGIN, origin) == 0);
  int found = 0;  // DT_RUNPATH is $ORIGIN
  for (unsigned i = 0; i < search.info.dls_cnt; ++i) found |= strcmp(search.info.dls_serpath[i].dls_name, origin) == 0;
  EXPECT(found);
  struct link_map* program = 0;
  EXPECT(dlinfo(dlopen(0, RTLD_NOW), RTLD_DI_LINKMAP, &program) == 0 && program);
  EXPECT(dlinfo(self, 999, &program) == -1 && dlerror());
  return dlclose(self);
}

FIXTURE int check_errors(void) {
  (void)dlerror();
  EXPECT(dlerror() == 0);
  EXPECT(dlopen("libfx_absent.so", RTLD_NOW) == 0);
  char* error = dlerror();
  EXPECT(error && strstr(error, "libfx_absent.so"));
  EXPECT(dlerror() == 0);
  void* provider = dlopen("libfx_provider.so", RTLD_NOW);
  EXPECT(provider && dlsym(provider, "absent_symbol") == 0);
  error = dlerror();
  EXPECT(error && strstr(error, "absent_symbol"));
  EXPECT(dlsym(provider, "provided_function") && dlerror() == 0);
  EXPECT(dlclose(provider) == 0);
  EXPECT(dlopen("/proc/self/exe", RTLD_NOW) == 0 && dlerror() != 0);  // an executable
  return 0;
}

static void* no_error_here(void* unused) {
  (void)unused;
  return dlerror();
}

FIXTURE int check_error_is_the_threads(void) {
  EXPECT(dlopen("libfx_absent.so", RTLD_NOW) == 0);
  pthread_t thread;
  void* result;
  EXPECT(pthread_create(&thread, 0, no_error_here, 0) == 0 && pthread_join(thread, &result) == 0);
  EXPECT(result == 0);
  EXPECT(dlerror() != 0);
  return 0;
}

FIXTURE int check_main_program(void) {
  void* program = dlopen(0, RTLD_NOW);
  EXPECT(program);
  EXPECT(dlsym(program, "getpid") == dlsym(RTLD_DEFAULT, "getpid"));
  EXPECT(dlsym(program, "absent_symbol") == 0);
  EXPECT(dlclose(program) == 0);
  return 0;
}

FIXTURE int check_system_library(void) {
  void* c = dlopen("libc.so.6", RTLD_NOW);
  EXPECT(c);
  pid_t (*function)(void) = (pid_t (*)(void))dlsym(c, "getpid");
  EXPECT(function && function() == getpid());
  EXPECT(dlvsym(c, "getpid", "GLIBC_2.2.5") == (void*)function);
  EXPECT(dlclose(c) == 0);
  EXPECT(getpid() > 0);
  return 0;
}

struct Objects {
  int self, c_library, total;
};

static int visit(struct dl_phdr_info* info, size_t size, void* argument) {
  struct Objects* objects = argument;
  ++objects->total;
  if (size == 0 || !info->dlpi_name) return 0;
  if (strstr(info->dlpi_name, "libc.so.6")) ++objects->c_library;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)* p = &info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + p->p_vaddr;
    if (p->p_type == PT_LOAD && begin <= (uintptr_t)visit && (uintptr_t)visit < begin + p->p_memsz) ++objects->self;
  }
  return 0;
}
static int stop(struct dl_phdr_info* info, size_t size, void* argument) {
  (void)info, (void)size;
  ++*(int*)argument;
  return 17;
}

FIXTURE int check_iterate(void) {
  struct Objects objects = {0, 0, 0};
  EXPECT(dl_iterate_phdr(visit, &objects) == 0);
  EXPECT(objects.self == 1 && objects.c_library == 1 && objects.total > 2);
  int calls = 0;
  EXPECT(dl_iterate_phdr(stop, &calls) == 17 && calls == 1);
  return 0;
}

FIXTURE int check_find_object(void) {
  struct dl_find_object found;
  EXPECT(_dl_find_object((void*)check_find_object, &found) == 0);
  EXPECT(found.dlfo_map_start <= (void*)check_find_object && (void*)check_find_object < found.dlfo_map_end);
  EXPECT(found.dlfo_eh_frame && found.dlfo_link_map && strstr(found.dlfo_link_map->l_name, "libfx_libdl.so"));
  EXPECT(_dl_find_object((void*)getpid, &found) == 0 && found.dlfo_eh_frame);
  EXPECT(_dl_find_object((void*)1, &found) == -1);
  return 0;
}
