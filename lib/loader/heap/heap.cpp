#include "lib/loader/heap/heap.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <iterator>
#include <mutex>
#include <new>
#include <utility>

#include "lib/loader/heap/pages.h"
#include "lib/support/forks.h"

// The essay is in heap.h.

namespace deploy::loader {

namespace {

constexpr std::size_t kPage = kPageSize;
constexpr std::size_t kGranule = std::size_t{1} << DEPLOY_HEAP_GRANULE_BITS;
constexpr std::size_t kGranules = std::size_t{1} << (DEPLOY_ADDRESS_BITS - DEPLOY_HEAP_GRANULE_BITS);
constexpr std::size_t kMostReserve = std::size_t{2} << 20;
// mimalloc's own tables are smaller than this and hold no blocks; its smallest segment is that of one block of 16 MiB.
constexpr std::size_t kSmallestSegment = kGranule / 4;
// What CPython takes for frames when a thread's calls go deeper, and gives back as soon as they return: a loop of such calls would
// be one of system calls and page faults.
constexpr std::size_t kKeptSize = std::size_t{16} << 10;
// What a thread needs before it does anything: mimalloc's first pages for it, Python's frames.
constexpr std::size_t kNewThread = std::size_t{4} << 20;

// How far the calling thread may go beyond the limit of a heap, by its serial number.
struct Allowance {
  std::uint64_t heap = 0;
  std::size_t left = 0;
};
thread_local Allowance t_allowance;

constexpr std::int64_t kMoment = 100;  // milliseconds
constexpr int kManyRefusals = 1000;
constexpr std::size_t kRelief = std::size_t{256} << 10, kMostRelief = std::size_t{8} << 20;  // bytes at one time, of a heap

// Of requests of a few bytes, by the calling thread.
struct Refusals {
  std::uint64_t heap = 0;
  std::int64_t since = 0;
  int count = 0;
};
thread_local Refusals t_refusals;

// One lock for the tables of all heaps: they change seldom, and a fork has only this one to wait for. Never held during a system
// call that takes long.
ForkLock& tables_lock() {
  static ForkLock* const lock = [] {
    static ForkLock instance;
    hold_in_forks(instance);
    return &instance;
  }();
  return *lock;
}

// By granule. Made at the first heap, never unmapped; readers need no lock.
std::atomic<deploy_heap**> g_owners{nullptr};

Result<deploy_heap**> owners() {
  if (deploy_heap** table = g_owners.load(std::memory_order_acquire)) return table;
  void* memory =
      ::mmap(nullptr, kGranules * sizeof(void*), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return Failure{ErrorCode::kSystem, std::string("mapping the table of heaps: ") + std::strerror(errno)};
  deploy_heap** expected = nullptr;
  if (!g_owners.compare_exchange_strong(expected, static_cast<deploy_heap**>(memory))) {
    ::munmap(memory, kGranules * sizeof(void*));
    return expected;
  }
  return static_cast<deploy_heap**>(memory);
}

std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> counter{0};
  return ++counter;
}

// Stands in the table for granules in which large blocks begin, of any heap.
deploy_heap g_large_blocks{};

// The bits of pages [first, last) that are `set` already.
std::size_t count_bits(const std::vector<std::uint64_t>& bits, std::size_t first, std::size_t last) {
  std::size_t count = 0;
  for (std::size_t page = first; page < last;) {
    const std::size_t within = page % 64, here = std::min<std::size_t>(64 - within, last - page);
    const std::uint64_t mask = (here == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << here) - 1) << within;
    count += static_cast<std::size_t>(std::popcount(bits[page / 64] & mask));
    page += here;
  }
  return count;
}

void set_bits(std::vector<std::uint64_t>& bits, std::size_t first, std::size_t last, bool value) {
  for (std::size_t page = first; page < last;) {
    const std::size_t within = page % 64, here = std::min<std::size_t>(64 - within, last - page);
    const std::uint64_t mask = (here == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << here) - 1) << within;
    bits[page / 64] = value ? bits[page / 64] | mask : bits[page / 64] & ~mask;
    page += here;
  }
}

}  // namespace

void heap_prepare_fork() { tables_lock(); }

Result<std::unique_ptr<Heap>> Heap::create(std::size_t limit) {
  auto table = owners();
  if (!table) return table.failure();
  std::unique_ptr<Heap> heap(new Heap(limit));
  heap->shared_.owners = *table;
  tables_lock();  // a fork takes this lock after that of heap_live, as threads that end do
  heap_live(*heap);
  return heap;
}

Heap::Heap(std::size_t limit) : limit_(limit), reserve_(std::min(limit / 8, kMostReserve)), large_(*this, limit == 0) {
  shared_.self = this;
  shared_.serial = next_serial();
  shared_.enter = heap_enter;
  shared_.map = [](deploy_heap* self, std::size_t size, int in_use) {
    // Its own tables are never refused: a thread that has none can allocate nothing at all, the reserve included.
    const bool is_table = size < kSmallestSegment;
    Heap& heap = of(self);
    if (is_table) heap.begin_exemption();
    void* memory = heap.map(size, !is_table, in_use != 0);
    if (is_table) heap.end_exemption();
    return memory;
  };
  shared_.unmap = [](deploy_heap* self, void* memory, std::size_t size) { return of(self).unmap(memory, size) ? 0 : -1; };
  shared_.commit = [](deploy_heap* self, void* memory, std::size_t size) { return of(self).change(memory, size, true) ? 0 : -1; };
  shared_.decommit = [](deploy_heap* self, void* memory, std::size_t size) {
    return of(self).change(memory, size, false) ? 0 : -1;
  };
  shared_.make_large = [](deploy_heap* self, std::size_t alignment, std::size_t size, deploy_heap_use use) {
    return of(self).large_.make(alignment, size, static_cast<LargeBlocks::Use>(use));
  };
  shared_.size_of_large = [](deploy_heap* self, const void* block) {
    const LargeBlocks::Header* large = LargeBlocks::find(block);
    return large && &LargeBlocks::heap_of(*large) == &of(self) ? LargeBlocks::size_of(*large) : 0;
  };
  shared_.give_back_large = [](deploy_heap* self) { of(self).large_.give_back(); };
  shared_.refuse = [](deploy_heap* self) { return of(self).relieve() ? 1 : 0; };
  shared_.free_foreign = deploy::loader::free_foreign;
  shared_.realloc_foreign = deploy::loader::realloc_foreign;
  shared_.size_of_foreign = deploy::loader::size_of_foreign;
}

void Heap::retire() { heap_retired(*this); }

Heap::~Heap() {
  retire();
  for (const auto& [start, region] : regions_) {
    if (region.owned) set_owner(start, region.reserved, nullptr);
    ::munmap(reinterpret_cast<void*>(start), region.reserved);
  }
}

Heap& Heap::of(deploy_heap* shared) { return *static_cast<Shared*>(shared)->self; }

Heap* Heap::owner(const void* block) noexcept {
  deploy_heap* const* table = g_owners.load(std::memory_order_relaxed);
  const auto granule = reinterpret_cast<std::uintptr_t>(block) >> DEPLOY_HEAP_GRANULE_BITS;
  deploy_heap* found = table && granule < kGranules ? table[granule] : nullptr;
  if (found != &g_large_blocks) return found ? &of(found) : nullptr;
  const LargeBlocks::Header* large = LargeBlocks::find(block);
  return large ? &LargeBlocks::heap_of(*large) : nullptr;
}

bool Heap::large_blocks_begin_near(const void* address) noexcept {
  deploy_heap* const* table = g_owners.load(std::memory_order_relaxed);
  const auto granule = reinterpret_cast<std::uintptr_t>(address) >> DEPLOY_HEAP_GRANULE_BITS;
  return table && granule < kGranules && table[granule] == &g_large_blocks;
}

// It stays until a segment takes all of the granule: to ask once too often does no harm.
void Heap::note_large_block(const void* block) noexcept {
  deploy_heap** table = g_owners.load(std::memory_order_relaxed);
  std::atomic_ref(table[reinterpret_cast<std::uintptr_t>(block) / kGranule]).store(&g_large_blocks, std::memory_order_release);
}

void Heap::set_owner(std::uintptr_t start, std::size_t size, deploy_heap* owner) noexcept {
  deploy_heap** table = g_owners.load(std::memory_order_relaxed);
  for (std::size_t granule = start / kGranule; granule < (start + size) / kGranule; ++granule) {
    std::atomic_ref(table[granule]).store(owner, std::memory_order_release);
  }
}

void Heap::count_peak(std::size_t committed) noexcept {
  std::size_t peak = peak_.load(std::memory_order_relaxed);
  while (peak < committed && !peak_.compare_exchange_weak(peak, committed, std::memory_order_relaxed)) {
  }
}

bool Heap::may_hold(std::size_t committed, std::size_t more) noexcept {
  if (limit_ == 0 || exemptions_.load() != 0) return true;
  const bool reserve = std::atomic_ref(shared_.reserve_users).load(std::memory_order_relaxed) > 0;
  const std::size_t most = reserve ? limit_ : limit_ - reserve_;
  if (more <= most && committed <= most - more) return true;
  if (t_allowance.heap != serial() || more > t_allowance.left) return false;
  t_allowance.left -= more;
  return true;
}

bool Heap::count_in(std::size_t size) noexcept {
  std::size_t committed = committed_.load(std::memory_order_relaxed);
  if (!may_hold(committed, size)) return false;
  while (!committed_.compare_exchange_weak(committed, committed + size, std::memory_order_relaxed)) {
    if (!may_hold(committed, size)) return false;
  }
  count_peak(committed + size);
  return true;
}

bool Heap::has_room_for_thread() const noexcept {
  return limit_ == 0 || exemptions_.load() != 0 || committed_.load() + std::min(kNewThread, limit_ / 8) <= limit_;
}

// CPython 3.11 asks for the few bytes that an `except` or a `with` needs again and again until it has them, with the GIL: nothing
// else would ever run there. So a thread that has been refused so often in a moment gets them, beyond the limit.
bool Heap::relieve() noexcept {
  if (limit_ == 0) return false;
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  const std::int64_t time = now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
  if (t_refusals.heap != serial() || time - t_refusals.since > kMoment) t_refusals = {serial(), time, 0};
  if (++t_refusals.count < kManyRefusals) return false;
  t_refusals = {};
  if (relief_.fetch_add(kRelief) >= kMostRelief) return false;
  t_allowance = {serial(), kRelief};
  return true;
}

void Heap::begin_thread() noexcept {
  if (limit_ != 0) t_allowance = {serial(), kNewThread};
}

void* Heap::map(std::size_t size, bool owned, bool committed) noexcept {
  const std::size_t reserved = round_up(size, owned ? kGranule : kPage), counted = committed ? round_up(size, kPage) : 0;
  if (!count_in(counted)) return nullptr;
  const std::size_t alignment = owned ? kGranule : kPage;
  Reservation memory = reserve_pages(reserved, alignment, committed);
  if (!memory.start && large_.give_back()) memory = reserve_pages(reserved, alignment, committed);
  try {
    if (memory.start) {
      const auto start = reinterpret_cast<std::uintptr_t>(memory.start);
      Region region{round_up(size, kPage), reserved, owned, memory.strict, {}};
      region.committed.resize((reserved / kPage + 63) / 64);
      if (committed) set_bits(region.committed, 0, region.size / kPage, true);
      const std::lock_guard guard(tables_lock());
      regions_.emplace(start, std::move(region));
      if (owned) set_owner(start, reserved, &shared_);
      reserved_ += reserved;
      return memory.start;
    }
  } catch (const std::bad_alloc&) {
    ::munmap(memory.start, reserved);
  }
  count_out(counted);
  return nullptr;
}

// The region that an address lies in, or the end. Under the lock.
Heap::Regions::iterator Heap::region_of(std::uintptr_t address) {
  const auto after = regions_.upper_bound(address);
  if (after == regions_.begin()) return regions_.end();
  const auto found = std::prev(after);
  return address - found->first < found->second.size ? found : regions_.end();
}

bool Heap::unmap(void* memory, std::size_t size) noexcept {
  const auto start = reinterpret_cast<std::uintptr_t>(memory);
  std::size_t reserved = 0;
  {
    const std::lock_guard guard(tables_lock());
    const auto found = regions_.find(start);
    if (found != regions_.end() && round_up(size, kPage) == found->second.size) {
      const Region& region = found->second;
      reserved = region.reserved;
      count_out(count_bits(region.committed, 0, region.size / kPage) * kPage);
      reserved_ -= reserved;
      if (region.owned) set_owner(start, reserved, nullptr);
      regions_.erase(found);
    }
  }
  // A part of a region keeps its place.
  return reserved != 0 ? ::munmap(memory, reserved) == 0 : change(memory, size, false);
}

bool Heap::change(void* memory, std::size_t size, bool commit) noexcept {
  const auto start = reinterpret_cast<std::uintptr_t>(memory);
  bool strict = false;
  {
    const std::lock_guard guard(tables_lock());
    const auto found = region_of(start);
    if (found == regions_.end() || start - found->first + size > found->second.reserved) return false;
    Region& region = found->second;
    strict = region.strict;
    const std::size_t first = (start - found->first) / kPage, last = (start - found->first + size + kPage - 1) / kPage;
    const std::size_t already = count_bits(region.committed, first, last), fresh = (last - first - already) * kPage;
    if (commit) {
      if (!count_in(fresh)) return false;
      if (strict && !commit_pages(memory, size)) {
        count_out(fresh);
        return false;
      }
    } else {
      count_out(already * kPage);
    }
    set_bits(region.committed, first, last, commit);
  }
  return commit || decommit_pages(memory, size, strict);
}

void* Heap::allocate(std::size_t size) noexcept {
  if (size == kKeptSize) {
    if (void* kept = kept_.exchange(nullptr)) return kept;
  }
  void* memory = map(size, false, true);
  if (memory || size > DEPLOY_HEAP_SMALL) return memory;
  std::atomic_ref(shared_.reserve_users).fetch_add(1);
  memory = map(size, false, true);
  std::atomic_ref(shared_.reserve_users).fetch_sub(1);
  return memory;
}

void Heap::free(void* memory, std::size_t size) noexcept {
  void* none = nullptr;
  if (size == kKeptSize && limit_ == 0 && kept_.compare_exchange_strong(none, memory)) return;
  unmap(memory, size);
}

HeapUsage Heap::usage() const {
  const std::lock_guard guard(tables_lock());
  return {committed_.load(), peak_.load(), reserved_, limit_};
}

std::vector<std::pair<std::string, void*>> Heap::symbols() {
  return {{"deploy_own_heap", static_cast<deploy_heap*>(&shared_)}, {"deploy_current_heap", heap_current_symbol()}};
}

void Heap::set_allocator(const deploy_heap_allocator* allocator) {
  allocator_ = allocator;
  // What is kept for later would count, and be refused to those who need it in another size.
  if (limit_ != 0) allocator->keep_nothing();
  for (const deploy_heap_function* f = allocator->functions; f->name; ++f) functions_[f->name] = f->function;
}

void* Heap::function(std::string_view name) const {
  const auto found = functions_.find(name);
  return found == functions_.end() ? nullptr : found->second;
}

}  // namespace deploy::loader
