#include "lib/loader/tls.h"

#include <cpuid.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "lib/support/forks.h"

// Thread-local storage of private libraries
//
// Code reaches a thread-local variable in one of four ways (Drepper, "ELF Handling For Thread-Local Storage"):
//
//   general dynamic   __tls_get_addr({module, offset}); the pair is filled in by DTPMOD64 and DTPOFF64 relocations
//   local dynamic     the same with offset 0 once, then constants
//   TLS descriptors   call *(descriptor): function and argument are filled in by one TLSDESC relocation
//   initial exec      thread pointer + a constant, filled in by TPOFF64: the block must lie at the same distance from the thread
//   pointer in
//                     every thread, in "static TLS", which glibc lays out when it creates a thread
//
// glibc numbers its modules from 1 and would need to know ours. Instead our numbers carry the top bit, and private libraries call
// our
// __tls_get_addr, which passes all other numbers on to glibc's. So a TLS variable of a system library simply has glibc's number.
//
// A thread has one array, module number to block, reached through one initial-exec variable of libdeploy. An access costs a load of
// the array's address, a bounds check and a load of the block, as with glibc, in ten instructions: the array is never null, the top
// bit makes the number negative, so that one signed comparison sends glibc's modules and those beyond the end to the slow path, and
// it vanishes when the number is scaled by the size of a pointer. Blocks are allocated at first touch. Tables of all threads are
// linked, so that unloading a library can free its blocks everywhere; the owner reads its own array without a lock, which is safe
// since a module is removed only when none of its code runs. There is one pthread key for the process, not one a library.
//
// At thread exit glibc first runs thread_local destructors, then pthread-key destructors, in up to PTHREAD_DESTRUCTOR_ITERATIONS
// rounds. Private code can be called from both, so the blocks go in the last round.
//
// An access cannot fail: there is nobody to tell. Where malloc gives nothing, blocks and tables come from a small array of
// libdeploy's own, and are not given back; when that is used up the process ends, as with glibc's. Threads that private code starts
// get their table before they are made.
//
// Initial exec has no such indirection. libdeploy owns a small array in its own static TLS and hands out parts of it. glibc zeroes
// it in new threads; an initialisation image is copied when a thread first enters the namespace.

namespace deploy::loader {

namespace {

// The round of pthread-key destructors in which a thread's blocks go. ThreadSanitizer forgets the thread in the last one.
#ifdef __SANITIZE_THREAD__
constexpr int kLastExitRound = PTHREAD_DESTRUCTOR_ITERATIONS - 1;
#else
constexpr int kLastExitRound = PTHREAD_DESTRUCTOR_ITERATIONS;
#endif

constexpr std::size_t kStaticReserve =
    768;  // bytes; all of a dlopened libdeploy's static TLS has to fit glibc's surplus (about 1,600 bytes)

struct Module {
  TlsImage image;
  bool used = false;
  std::optional<StaticTls> block;
};

struct ExitDestructor {
  void (*destructor)(void*);
  void* object;
  void* library;
};

// A thread's blocks by module number. tlsdesc_x86_64.S knows this.
struct Blocks {
  std::int64_t limit;  // the first number beyond the end, kPrivateTlsModule included
  void* block[1];      // as many as there are

  std::size_t size() const { return static_cast<std::size_t>(limit) & ~kPrivateTlsModule; }
  static Blocks* create(std::size_t size);
};
static_assert(offsetof(Blocks, limit) == 0 && offsetof(Blocks, block) == 8);

constinit Blocks g_no_blocks{static_cast<std::int64_t>(kPrivateTlsModule), {}};

struct ThreadTable {
  Blocks* blocks = &g_no_blocks;  // written by the owner only, under the lock
  ThreadTable *next = nullptr, *previous = nullptr;
  std::vector<ExitDestructor> destructors;
  std::uintptr_t thread_pointer = 0;
  std::vector<std::size_t> prepared;                          // modules in static TLS that tls_add has initialised for this thread
  std::vector<std::pair<void (*)(void*), void*>> when_ended;  // owner only
  bool runner_registered = false;
  int exit_rounds = 0;
  std::string error;
};

struct Registry {
  ForkLock lock;  // guards everything below, and other threads' tables
  std::vector<Module> modules;
  ThreadTable* threads = nullptr;
  pthread_key_t key{};
  std::vector<bool> reserve_used = std::vector<bool>(kStaticReserve, false);
};

// Zeroed memory, see above.
constexpr std::size_t kInNeed = std::size_t{256} << 10;
alignas(64) std::byte g_in_need[kInNeed];
std::atomic<std::size_t> g_in_need_used{0};

void* allocate(std::size_t size, std::size_t alignment) noexcept {
  size = (size + alignment - 1) / alignment * alignment;
  if (void* memory = std::aligned_alloc(alignment, size)) return std::memset(memory, 0, size);
  std::size_t used = g_in_need_used.load();
  std::size_t start = 0;
  do {
    start = (reinterpret_cast<std::uintptr_t>(g_in_need) + used + alignment - 1) / alignment * alignment -
            reinterpret_cast<std::uintptr_t>(g_in_need);
    if (start + size > kInNeed) std::abort();
  } while (!g_in_need_used.compare_exchange_weak(used, start + size));
  return g_in_need + start;
}

void release(void* memory) noexcept {
  const auto* at = static_cast<std::byte*>(memory);
  if (at < g_in_need || at >= g_in_need + kInNeed) std::free(memory);
}

extern "C" {
thread_local Blocks* deploy_tls_blocks = &g_no_blocks;  // its table's; read by tlsdesc_x86_64.S
}
thread_local ThreadTable* t_table = nullptr;
thread_local bool t_ended = false;  // the table has been freed in the last round of pthread-key destructors
alignas(64) thread_local std::byte t_reserve[kStaticReserve];

void at_thread_exit(void* table);

std::uintptr_t thread_pointer() {
  std::uintptr_t value;
  __asm__("mov %%fs:0, %0" : "=r"(value));  // the first word of the thread control block is its own address (psABI x86-64 3.4.6)
  return value;
}

// Made as the library is loaded, before a thread can be in the middle of that when another one forks. Never destroyed: threads may
// end after the process's static objects are gone.
Registry& registry() {
  static Registry* instance = [] {
    auto* r = new Registry;
    if (pthread_key_create(&r->key, at_thread_exit) != 0) std::abort();
    hold_in_forks(r->lock);
    return r;
  }();
  return *instance;
}

[[maybe_unused]] const Registry& g_made_early = registry();

void free_table(ThreadTable* table) {
  Registry& r = registry();
  {
    const std::lock_guard lock(r.lock);
    (table->previous ? table->previous->next : r.threads) = table->next;
    if (table->next) table->next->previous = table->previous;
    for (std::size_t i = 0; i < table->blocks->size(); ++i) {
      if (!r.modules[i].block) release(table->blocks->block[i]);
    }
  }
  if (table->blocks != &g_no_blocks) release(table->blocks);
  table->~ThreadTable();
  release(table);
}

void run_destructors(ThreadTable* table) {
  while (true) {
    ExitDestructor last{};
    {
      const std::lock_guard lock(registry().lock);
      if (table->destructors.empty()) return;
      last = table->destructors.back();
      table->destructors.pop_back();
    }
    last.destructor(last.object);
  }
}

void at_thread_exit(void* value) {
  auto* table = static_cast<ThreadTable*>(value);
  if (++table->exit_rounds < kLastExitRound) {
    pthread_setspecific(registry().key, table);
    return;
  }
  run_destructors(table);
  const auto when_ended = std::move(table->when_ended);
  t_table = nullptr;
  deploy_tls_blocks = &g_no_blocks;
  t_ended = true;
  free_table(table);
  for (const auto& [function, argument] : when_ended) function(argument);
}

ThreadTable* new_table() noexcept { return new (allocate(sizeof(ThreadTable), 64)) ThreadTable; }

// The calling thread's from now on.
ThreadTable* adopt(ThreadTable* table) {
  Registry& r = registry();
  table->thread_pointer = thread_pointer();
  // A pthread-key destructor that runs after ours in the last round has no later one to free what it uses; nobody must look for its
  // table.
  if (!t_ended) {
    const std::lock_guard lock(r.lock);
    table->next = r.threads;
    if (r.threads) r.threads->previous = table;
    r.threads = table;
  }
  pthread_setspecific(r.key, table);
  deploy_tls_blocks = table->blocks;
  return t_table = table;
}

ThreadTable* own_table() { return t_table ? t_table : adopt(new_table()); }

std::byte* initialise_static(std::uintptr_t thread_pointer, const Module& module) {
  auto* to = reinterpret_cast<std::byte*>(thread_pointer + static_cast<std::uintptr_t>(module.block->offset));
  std::memcpy(to, module.image.data, module.image.file_size);
  std::memset(to + module.image.file_size, 0, module.image.memory_size - module.image.file_size);
  return to;
}

void* allocate_block(const TlsImage& image) {
  const std::size_t alignment = std::max<std::size_t>(image.alignment, 16);
  const std::size_t size = (std::max<std::size_t>(image.memory_size, 1) + alignment - 1) / alignment * alignment;
  auto* block = static_cast<std::byte*>(allocate(size, alignment));
  std::memcpy(block, image.data, image.file_size);
  return block;
}

Blocks* Blocks::create(std::size_t size) {
  auto* blocks = static_cast<Blocks*>(allocate(offsetof(Blocks, block) + size * sizeof(void*), 16));
  blocks->limit = static_cast<std::int64_t>(size | kPrivateTlsModule);
  return blocks;
}

// The thread's array, large enough for `size` modules. Under the lock.
Blocks* grow(ThreadTable* table, std::size_t size) {
  Blocks* old = table->blocks;
  if (size <= old->size()) return old;
  Blocks* grown = Blocks::create(size);
  std::memcpy(grown->block, old->block, old->size() * sizeof(void*));
  if (old != &g_no_blocks) release(old);
  return deploy_tls_blocks = table->blocks = grown;
}

extern "C" void* __tls_get_addr(TlsIndex*);

__attribute__((noinline)) void* get_addr_slow(const TlsIndex* index) {
  if ((index->module & kPrivateTlsModule) == 0) {
    return index->module == 0 ? reinterpret_cast<void*>(index->offset) : __tls_get_addr(const_cast<TlsIndex*>(index));
  }
  const std::size_t module = index->module & ~kPrivateTlsModule;
  Registry& r = registry();
  ThreadTable* table = own_table();
  Module description;
  bool prepared = false;
  {
    const std::lock_guard lock(r.lock);
    description = r.modules[module];
    prepared = std::find(table->prepared.begin(), table->prepared.end(), module) != table->prepared.end();
    grow(table, std::max(r.modules.size(), module + 1));
  }
  if (void*& block = table->blocks->block[module]; !block) {
    if (!description.block) {
      block = allocate_block(description.image);
    } else {
      block = prepared ? reinterpret_cast<void*>(thread_pointer() + static_cast<std::uintptr_t>(description.block->offset))
                       : initialise_static(thread_pointer(), description);
    }
  }
  return static_cast<std::byte*>(table->blocks->block[module]) + index->offset;
}

}  // namespace

extern "C" {
void deploy_tlsdesc_static();
void deploy_tlsdesc_dynamic();
void deploy_tlsdesc_undefined();
void* deploy_tls_get_addr(const TlsIndex* index) { return tls_get_addr(index); }

// Bytes that XSAVE needs with all features the system enabled (Intel SDM vol. 1, 13.2: CPUID leaf 0DH, EBX); 0: there is no XSAVE.
std::uint64_t deploy_xsave_size = [] {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_OSXSAVE) == 0) return std::uint64_t{0};
  return __get_cpuid_count(0xd, 0, &a, &b, &c, &d) ? std::uint64_t{b} : std::uint64_t{0};
}();
}

TlsDescriptor tls_descriptor_static(std::int64_t offset) {
  return {reinterpret_cast<void*>(deploy_tlsdesc_static), static_cast<std::uint64_t>(offset)};
}

TlsDescriptor tls_descriptor_dynamic(const TlsIndex* index) {
  return {reinterpret_cast<void*>(deploy_tlsdesc_dynamic), reinterpret_cast<std::uint64_t>(index)};
}

TlsDescriptor tls_descriptor_undefined(std::uint64_t addend) { return {reinterpret_cast<void*>(deploy_tlsdesc_undefined), addend}; }

std::uint64_t tls_add(const TlsImage& image, const StaticTls* block) {
  Registry& r = registry();
  const std::lock_guard lock(r.lock);
  auto free_slot = std::find_if(r.modules.begin(), r.modules.end(), [](const Module& m) { return !m.used; });
  if (free_slot == r.modules.end()) free_slot = r.modules.insert(r.modules.end(), Module{});
  *free_slot = {image, true, block ? std::optional(*block) : std::nullopt};
  const auto slot = static_cast<std::size_t>(free_slot - r.modules.begin());
  for (ThreadTable* t = r.threads; block && t; t = t->next) {
    initialise_static(t->thread_pointer, *free_slot);
    t->prepared.push_back(slot);
  }
  return slot | kPrivateTlsModule;
}

void tls_remove(std::uint64_t module) {
  const std::size_t slot = module & ~kPrivateTlsModule;
  Registry& r = registry();
  const std::lock_guard lock(r.lock);
  for (ThreadTable* t = r.threads; t; t = t->next) {
    std::erase(t->prepared, slot);
    if (slot >= t->blocks->size()) continue;
    void* block = std::exchange(t->blocks->block[slot], nullptr);
    if (!r.modules[slot].block) release(block);
  }
  r.modules[slot] = {};
}

void* tls_get_addr(const TlsIndex* index) {
  const Blocks* blocks = deploy_tls_blocks;
  if (__builtin_expect(static_cast<std::int64_t>(index->module) < blocks->limit, 1)) {
    const auto place = reinterpret_cast<std::uintptr_t>(blocks->block) + index->module * sizeof(void*);
    if (void* block = *reinterpret_cast<void**>(place); __builtin_expect(block != nullptr, 1)) {
      return static_cast<std::byte*>(block) + index->offset;
    }
  }
  return get_addr_slow(index);
}

void* tls_block(std::uint64_t module) {
  const Blocks* blocks = deploy_tls_blocks;
  const std::size_t slot = module & ~kPrivateTlsModule;
  return module != 0 && slot < blocks->size() ? blocks->block[slot] : nullptr;
}

namespace {

struct SystemSearch {
  std::uintptr_t address;
  TlsIndex index{};
  bool found = false;
};

int match_tls_block(dl_phdr_info* info, std::size_t, void* data) {
  auto* search = static_cast<SystemSearch*>(data);
  if (info->dlpi_tls_modid == 0 || !info->dlpi_tls_data) return 0;
  const auto block = reinterpret_cast<std::uintptr_t>(info->dlpi_tls_data);
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) & p = info->dlpi_phdr[i];
    if (p.p_type != PT_TLS || search->address < block || search->address - block >= p.p_memsz) continue;
    search->index = {info->dlpi_tls_modid, search->address - block};
    search->found = true;
    return 1;
  }
  return 0;
}

}  // namespace

Result<TlsIndex> tls_system_index(const void* address) {
  SystemSearch search{reinterpret_cast<std::uintptr_t>(address)};
  ::dl_iterate_phdr(match_tls_block, &search);
  if (!search.found)
    return Failure{ErrorCode::kLoader, "a thread-local variable of a system library lies in no TLS block of this thread"};
  return search.index;
}

// A module is in static TLS when its block lies at the same distance from the thread pointer in two threads: its address here is
// compared with its address in a thread made for the purpose.
Result<std::int64_t> tls_system_static_offset(std::uint64_t module) {
  const auto distance = [module] {
    TlsIndex index{module, 0};
    return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(__tls_get_addr(&index)) - thread_pointer());
  };
  const std::int64_t here = distance();
  std::int64_t there = here - 1;
  try {
    std::thread([&] { there = distance(); }).join();
  } catch (const std::system_error& error) {
    return Failure{ErrorCode::kSystem, std::string("no thread to look at thread-local variables from: ") + error.what()};
  }
  if (here == there) return here;
  return Failure{ErrorCode::kLoader,
                 "initial-exec access to a thread-local variable of a system library that is not in static TLS"};
}

Result<StaticTls> tls_static_reserve(const TlsImage& image) {
  if (image.alignment > 64)
    return Failure{ErrorCode::kLoader,
                   "initial-exec TLS with alignment " + std::to_string(image.alignment) + ", at most 64 is possible"};
  Registry& r = registry();
  const std::lock_guard lock(r.lock);
  const std::size_t size = std::max<std::size_t>(image.memory_size, 1), step = std::max<std::size_t>(image.alignment, 1);
  std::size_t left = 0;
  for (std::size_t at = 0; at + size <= kStaticReserve; at += step) {
    const auto begin = r.reserve_used.begin() + static_cast<std::ptrdiff_t>(at), end = begin + static_cast<std::ptrdiff_t>(size);
    if (std::find(begin, end, true) != end) continue;
    std::fill(begin, end, true);
    return StaticTls{static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(&t_reserve[at]) - thread_pointer()), size};
  }
  left = static_cast<std::size_t>(std::count(r.reserve_used.begin(), r.reserve_used.end(), false));
  return Failure{ErrorCode::kLoader, "the reserve of static TLS is full: " + std::to_string(size) + " bytes asked, " +
                                         std::to_string(left) + " of " + std::to_string(kStaticReserve) + " free"};
}

void tls_static_release(const StaticTls& block) {
  Registry& r = registry();
  const std::lock_guard lock(r.lock);
  const std::size_t at =
      static_cast<std::uintptr_t>(block.offset) + thread_pointer() - reinterpret_cast<std::uintptr_t>(&t_reserve[0]);
  std::fill_n(r.reserve_used.begin() + static_cast<std::ptrdiff_t>(at), block.size, false);
}

namespace {

extern "C" int __cxa_thread_atexit_impl(void (*)(void*), void*, void*);
extern "C" void* __dso_handle;

}  // namespace

std::string& tls_error_text() { return own_table()->error; }

int tls_at_thread_exit(void (*destructor)(void*), void* object, void* library) {
  ThreadTable* table = own_table();
  bool first;
  try {
    const std::lock_guard lock(registry().lock);
    table->destructors.push_back({destructor, object, library});
    first = !std::exchange(table->runner_registered, true);
  } catch (const std::bad_alloc&) {
    return -1;
  }
  // glibc calls the runner among the thread's own C++ destructors, before any pthread key's.
  if (first) {
    return __cxa_thread_atexit_impl(
        [](void* t) {
          static_cast<ThreadTable*>(t)->runner_registered = false;
          run_destructors(static_cast<ThreadTable*>(t));
        },
        table, &__dso_handle);
  }
  return 0;
}

TlsThread* tls_new_thread(void (*function)(void*), void* argument) noexcept {
  void* memory = std::aligned_alloc(64, (sizeof(ThreadTable) + 63) / 64 * 64);
  if (!memory) return nullptr;
  auto* table = new (memory) ThreadTable;
  try {
    Registry& r = registry();
    table->when_ended.reserve(2);  // the heap's, too
    table->when_ended.emplace_back(function, argument);
    const std::lock_guard lock(r.lock);
    table->prepared.reserve(r.modules.size());
    return reinterpret_cast<TlsThread*>(table);
  } catch (const std::bad_alloc&) {
    tls_drop_new_thread(reinterpret_cast<TlsThread*>(table));
    return nullptr;
  }
}

void tls_begin_thread(TlsThread* made) noexcept { adopt(reinterpret_cast<ThreadTable*>(made)); }

void tls_drop_new_thread(TlsThread* made) noexcept {
  auto* table = reinterpret_cast<ThreadTable*>(made);
  table->~ThreadTable();
  std::free(table);
}

void tls_when_thread_ended(void (*function)(void*), void* argument) { own_table()->when_ended.emplace_back(function, argument); }

void tls_prepare_thread() {
  ThreadTable* table = own_table();
  const std::lock_guard lock(registry().lock);
  for (std::size_t i = 0; i < registry().modules.size(); ++i) {
    const Module& module = registry().modules[i];
    if (!module.block || std::find(table->prepared.begin(), table->prepared.end(), i) != table->prepared.end()) continue;
    initialise_static(table->thread_pointer, module);
    table->prepared.push_back(i);
  }
}

void tls_drop_destructors(void* library) {
  Registry& r = registry();
  std::vector<ExitDestructor> own;
  {
    const std::lock_guard lock(r.lock);
    for (ThreadTable* t = r.threads; t; t = t->next) {
      for (auto it = t->destructors.rbegin(); t == t_table && it != t->destructors.rend(); ++it) {
        if (it->library == library) own.push_back(*it);
      }
      std::erase_if(t->destructors, [&](const ExitDestructor& d) { return d.library == library; });
    }
  }
  for (const ExitDestructor& d : own) d.destructor(d.object);
}

bool tls_has_destructors(const void* library) {
  Registry& r = registry();
  const std::lock_guard lock(r.lock);
  for (const ThreadTable* t = r.threads; t; t = t->next) {
    if (std::any_of(t->destructors.begin(), t->destructors.end(), [&](const ExitDestructor& d) { return d.library == library; }))
      return true;
  }
  return false;
}

}  // namespace deploy::loader
