#pragma once

#include <link.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/loader/heap/heap_abi.h"
#include "lib/loader/heap/large_blocks.h"
#include "lib/loader/tls.h"
#include "lib/support/result.h"

// A heap for each namespace
//
// Private code that called the process's malloc would leave holes in it: what a namespace allocates in ten thousand places lies
// between blocks of others, and what its libraries never free stays for ever. So each namespace has an allocator of its own. That
// gives three things at once: when the namespace goes, all its memory goes, whoever forgot to free it; what it holds is known
// exactly; and it can be limited: beyond the limit its malloc gives null, which is a MemoryError in that Python and nobody else's
// concern.
//
// The allocator is mimalloc, a private library like any other, behind a thin front (allocator.c), for blocks of up to 128 kB;
// larger ones are mappings of their own (large_blocks.h), which belong to no thread and which the system grants or refuses one by
// one. Four things make it fit.
//
// Whose a block is. mimalloc takes memory in segments aligned to 32 MiB. One table for the process, an entry for each 32 MiB of
// address space (32 MiB of zero pages, of which a few are ever touched), says which heap a segment belongs to; one load and one
// comparison. So `free` and its like work from every side, whoever allocated:
//   - private code frees what the C library or a shared library allocated (strdup, getline, a callback's result): the front sees
//   that
//     it is not its own, and hands it to the process's allocator;
//   - the C library or a shared library frees or enlarges what private code allocated (getline's buffer, readline's completions):
//     their calls of free, realloc and malloc_usable_size go through a table (the GOT), whose entries are changed in the C library
//     and in the libraries that namespaces open (system_allocator.cpp), to functions that look first;
//   - private code of one namespace frees what another's allocated: handed to that other.
//
// Threads. mimalloc keeps its state of a thread in nine bytes of initial-exec TLS, which every copy would need in every thread;
// static TLS is scarce, and a thread that no namespace prepared (a worker of a shared OpenMP) would find them uninitialised. So all
// copies share one place, and a second word there says whose state it holds. The front compares it before everything else; where
// another heap's state is at hand, the two are exchanged (heap_threads.cpp). It is a cache with one entry in front of dynamic TLS,
// and a thread seldom alternates. A state, with the memory that mimalloc has for it, goes on to another thread at the end of a
// session or of the thread, so that an interpreter needs as much for 24 threads as for one.
//
// The account. mimalloc reserves address space and commits parts of it, by mmap, mprotect and madvise, which in its library are
// functions of ours. To commit is to count, and to decommit gives pages back to the system (pages.h). A large block counts with all
// of its mapping. So what was committed bounds what is resident. (Where the system gives huge pages without being asked, they may
// reach into what is not committed.)
//
// The limit. A heap that is full still has a reserve for small requests: where a tensor is refused, there is memory to
// say so, and for the next call. A limited heap keeps nothing for later: what is freed goes back to the system at once.
//
// The process's own choice. Where another allocator was put in front of the C library's (LD_PRELOAD, sanitizers), it is meant to
// see all allocations: there are no private allocators then, and a heap counts only what is asked of it by allocate().
namespace deploy::loader {

struct Library;

struct HeapUsage {
  std::size_t committed = 0;       // bytes that it holds at this moment, freed ones that it keeps for later included
  std::size_t peak_committed = 0;  // the most that this ever was
  std::size_t reserved = 0;        // bytes of address space
  std::size_t limit = 0;           // 0: none
};

// mimalloc's state of one thread; heap_threads.cpp.
inline constexpr std::size_t kHeapStateSize = 24;
using HeapState = std::array<std::byte, kHeapStateSize>;

// The memory of one namespace. The destructor gives all of it back; no code of the namespace may run any more. Thread-safe.
class Heap {
 public:
  // `limit` in bytes of committed memory; 0: none.
  static Result<std::unique_ptr<Heap>> create(std::size_t limit);
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;
  ~Heap();

  // Whole pages, counted as committed; null where there is no memory or the limit is reached.
  void* allocate(std::size_t size) noexcept;
  void free(void* memory, std::size_t size) noexcept;

  // While there are more beginnings than ends, nothing is refused: for steps that code does not survive half-way.
  void begin_exemption() { exemptions_.fetch_add(1); }
  void end_exemption() { exemptions_.fetch_sub(1); }

  HeapUsage usage() const;

  // For the load of the allocator: what it is bound to, by symbol name; and afterwards what it says of itself. set_thread_state
  // is given mimalloc, of whose TLS the image is a new thread's state. From then on threads may enter.
  std::vector<std::pair<std::string, void*>> symbols();
  static Result<StaticTls> thread_state_place(const TlsImage& tls);
  void set_thread_state(const Library& library);
  void set_allocator(const deploy_heap_allocator* allocator);
  // The function of the malloc family that its namespace is to use for `name`; null for other names, and before set_allocator.
  void* function(std::string_view name) const;

  // The calling thread's state of this heap becomes the one at hand; false where there is no memory for that.
  bool enter() { return shared_.enter(&shared_) != 0; }

  // Around a fork.
  void lock_for_fork() { idle_lock_.lock(), large_.lock(); }
  void unlock_after_fork() { large_.unlock(), idle_lock_.unlock(); }

  // Before the allocator is unmapped: threads that end from now on do not tell it; waits for those that do at this moment.
  void retire();

  // Of threads that private code starts. A limited heap that is nearly full starts none; and for its first steps a new thread may
  // go a little beyond the limit, since whoever started it waits for them.
  bool has_room_for_thread() const noexcept;
  void begin_thread() noexcept;

  std::uint64_t serial() const { return shared_.serial; }
  // Whether threads leave what mimalloc has for them to each other (thread_identity.cpp).
  bool hands_states_on() const { return has_identities_; }

  // Whose block it is, or null. Lock-free.
  static Heap* owner(const void* block) noexcept;
  // Whether large blocks were made in that part of the address space; the table of owners knows.
  static bool large_blocks_begin_near(const void* address) noexcept;
  static void note_large_block(const void* block) noexcept;

  // The account: false where the limit would be exceeded.
  bool count_in(std::size_t size) noexcept;
  void count_out(std::size_t size) noexcept { committed_.fetch_sub(size, std::memory_order_relaxed); }

  // The blocks of more than DEPLOY_HEAP_LARGE.
  LargeBlocks& large() { return large_; }
  const deploy_heap_allocator* allocator() const { return allocator_; }

 private:
  // Of one mapping: which of its pages are committed.
  struct Region {
    std::size_t size = 0, reserved = 0;
    bool owned = false;                    // whole granules, in the table
    bool strict = false;                   // to commit is a system call (pages.h)
    std::vector<std::uint64_t> committed;  // a bit for each page; regions are no larger than mimalloc's segments, or arenas
  };
  using Regions = std::map<std::uintptr_t, Region>;

  friend struct HeapThreads;
  explicit Heap(std::size_t limit);
  static Heap& of(deploy_heap* shared);
  void* map(std::size_t size, bool owned, bool committed) noexcept;
  bool unmap(void* memory, std::size_t size) noexcept;
  bool change(void* memory, std::size_t size, bool commit) noexcept;
  bool may_hold(std::size_t committed, std::size_t more) noexcept;
  void count_peak(std::size_t committed) noexcept;
  bool relieve() noexcept;
  Regions::iterator region_of(std::uintptr_t address);
  void set_owner(std::uintptr_t start, std::size_t size, deploy_heap* owner) noexcept;

  struct Shared : deploy_heap {
    Heap* self = nullptr;
  };
  Shared shared_;
  const std::size_t limit_, reserve_;  // the reserve is part of the limit
  HeapState thread_state_{};           // mimalloc's in a thread that it does not know yet
  const deploy_heap_allocator* allocator_ = nullptr;
  std::unordered_map<std::string_view, void*> functions_;
  std::atomic<int> exemptions_{0};
  std::atomic<void*> kept_{nullptr};  // one freed block of kKeptSize, which an unlimited heap has ready
  std::atomic<std::size_t> committed_{0}, peak_{0}, relief_{0};
  LargeBlocks large_;
  // heap_threads.cpp: states that no thread has, and who leaves none.
  bool has_identities_ = false;  // states go from thread to thread
  std::uint64_t home_ = 0;       // the thread that made the heap
  std::atomic<std::uint64_t> keeper_{0};
  ForkLock idle_lock_;
  std::array<HeapState, 4> idle_{};  // guarded by idle_lock_, as all below
  std::size_t idle_count_ = 0;
  std::uint64_t last_identity_ = 0;
  // Guarded by heap.cpp's lock.
  Regions regions_;
  std::size_t reserved_ = 0;
};

// heap.cpp. Registers what a fork does with the lock of the tables; it is taken after those of heap_threads.cpp, so registered
// before.
void heap_prepare_fork();

// heap_threads.cpp. The calling thread's state of `heap` becomes the one at hand.
int heap_enter(deploy_heap* heap) noexcept;  // 0: there is no memory for that
// What a thread that is about to be made needs of a heap; null where there is no memory for that. The new thread begins with it, or
// it is dropped.
struct NewHeapThread {
  NewHeapThread() = default;
  NewHeapThread(const NewHeapThread&) = delete;
  NewHeapThread& operator=(const NewHeapThread&) = delete;
  ~NewHeapThread();
  Heap* heap = nullptr;
  HeapState bytes{};
};
std::unique_ptr<NewHeapThread> heap_new_thread(Heap& heap);
void heap_begin_thread(NewHeapThread& made) noexcept;
// The calling thread has left the namespace's code for now.
void heap_leave(Heap& heap) noexcept;
void heap_live(Heap& heap);  // its threads may be told of their end
// thread_identity.cpp. In the code of mimalloc, whose thread state is `state`, a thread becomes the number at `distance` from the
// thread pointer. False where that cannot be done.
bool give_threads_an_identity(const Library& library, StaticTls state, std::int64_t distance);
void heap_retired(Heap& heap);  // not any more; waits for those that are
void* heap_current_symbol();    // this thread's deploy_current_heap

// system_allocator.cpp. Whether the process's malloc is the C library's own.
bool system_allocator_is_plain();
// Makes the C library recognise blocks of heaps, or a shared library: one call at a time for that.
void teach_system_allocator();
void teach_system_allocator(const link_map& map);
// What `found`, a function of the process's malloc family, has to be replaced by in code of a namespace with `heap`; itself
// otherwise.
void* private_counterpart(const Heap* heap, void* found, std::string_view name);
void free_foreign(void* block);
void* realloc_foreign(void* block, std::size_t size);
std::size_t size_of_foreign(void* block);

}  // namespace deploy::loader
