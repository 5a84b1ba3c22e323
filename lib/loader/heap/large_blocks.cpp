#include "lib/loader/heap/large_blocks.h"

#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <ctime>
#include <utility>

#include "lib/loader/heap/heap.h"
#include "lib/loader/heap/pages.h"

// The essay is in large_blocks.h.

namespace deploy::loader {

struct LargeBlocks::Header {
  std::uint64_t mark;  // mark_of(this); 0 while the block is kept
  Heap* heap;
  std::byte* start;  // the mapping
  std::size_t size;
  Header *next, *previous;  // in the list of its heap
  std::uint64_t asked;      // bytes; of a kept block the period in which it was kept
  std::uint32_t index;      // of its size class; kNotKept: it is no block to keep
  std::uint32_t spare;      // pages that it has been lent, to grow into

  std::byte* block() { return reinterpret_cast<std::byte*>(this + 1); }
};

// What a mapping's size is rounded up to, and which of the kept ones it may be.
struct LargeBlocks::SizeClass {
  std::size_t size;
  std::uint32_t index;
};

namespace {

constexpr std::size_t kLargestKept = std::size_t{32} << 20;  // where the C library's malloc stops as well
constexpr std::size_t kMostOnAShelf = std::size_t{32} << 20;
constexpr std::size_t kMuchLarger = 24;  // by so many eighths of a power of two may a block be larger than what grows into it
constexpr std::int64_t kPeriod = 1000;   // milliseconds
constexpr std::size_t kMostLent = kMostOnAShelf;  // of a heap
constexpr std::uint32_t kNotKept = UINT32_MAX;

const std::uint64_t g_secret = [] {
  std::uint64_t value = 0x9e3779b97f4a7c15;
  (void)!::getrandom(&value, sizeof value, GRND_NONBLOCK);
  return value | 1;
}();

std::uint64_t mark_of(const void* header) { return g_secret ^ reinterpret_cast<std::uintptr_t>(header); }

std::int64_t now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
  return time.tv_sec * 1000 + time.tv_nsec / 1'000'000;
}

// The shelf that this thread begins with.
thread_local std::size_t t_shelf = 0;  // counted from 1; 0: none yet
std::size_t own_shelf() {
  static std::atomic<std::size_t> last{0};
  if (t_shelf == 0) t_shelf = last.fetch_add(1, std::memory_order_relaxed) + 1;
  return t_shelf;
}

void* map_pages(std::size_t size) { return ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }

}  // namespace

LargeBlocks::~LargeBlocks() {
  while (all_) {
    Header* header = std::exchange(all_, all_->next);
    ::munmap(header->start, header->size);
  }
}

LargeBlocks::Header* LargeBlocks::find(const void* block) noexcept {
  static_assert(sizeof(Header) == 64);
  const auto address = reinterpret_cast<std::uintptr_t>(block);
  if (address % sizeof(Header) != 0 || !Heap::large_blocks_begin_near(block)) return nullptr;
  // What precedes a block of another allocator is readable too: it has its own data there.
  auto* header = reinterpret_cast<Header*>(address) - 1;
  return header->mark == mark_of(header) ? header : nullptr;
}

Heap& LargeBlocks::heap_of(const Header& header) noexcept { return *header.heap; }

std::size_t LargeBlocks::size_of(const Header& header) noexcept {
  return static_cast<std::size_t>(header.start + header.size - reinterpret_cast<const std::byte*>(&header + 1));
}

std::size_t LargeBlocks::use_all(Header& header) noexcept { return header.asked = size_of(header); }

LargeBlocks::SizeClass LargeBlocks::class_of(std::size_t size) const noexcept {
  if (!keeps_ || size <= DEPLOY_HEAP_LARGE || size > kLargestKept) return {round_up(size, kPageSize), kNotKept};
  constexpr int kFirst = std::bit_width(std::size_t{DEPLOY_HEAP_LARGE});
  const int bits = std::bit_width(size - 1);
  const std::size_t last = (size - 1) >> (bits - 4);  // 8 to 15: the eighth that it lies in
  return {(last + 1) << (bits - 4), static_cast<std::uint32_t>((bits - kFirst) * 8) + static_cast<std::uint32_t>(last) - 8};
}

// Under the lock, as unlink.
void LargeBlocks::link(Header& header) noexcept {
  header.previous = nullptr;
  header.next = all_;
  if (all_) all_->previous = &header;
  all_ = &header;
}

void LargeBlocks::unlink(Header& header) noexcept {
  (header.previous ? header.previous->next : all_) = header.next;
  if (header.next) header.next->previous = header.previous;
}

// A new mapping becomes a block.
void* LargeBlocks::begin(void* start, std::size_t size, std::size_t alignment, std::size_t asked) noexcept {
  const std::size_t first = reinterpret_cast<std::uintptr_t>(start) + sizeof(Header);
  auto* header = reinterpret_cast<Header*>(round_up(first, alignment)) - 1;
  *header = {mark_of(header), &heap_, static_cast<std::byte*>(start), size, nullptr, nullptr, asked, kNotKept, 0};
  if (alignment == sizeof(Header)) header->index = class_of(size).index;
  Heap::note_large_block(header->block());
  const std::lock_guard guard(lock_);
  link(*header);
  return header->block();
}

void* LargeBlocks::make(std::size_t alignment, std::size_t size, Use use) noexcept {
  alignment = std::max(alignment, sizeof(Header));
  // With the header, which the alignment may push to a place of its own.
  if (alignment > PTRDIFF_MAX / 4 || size > PTRDIFF_MAX / 2) return nullptr;
  const SizeClass wanted = class_of(size + alignment);
  if (wanted.index != kNotKept && alignment == sizeof(Header)) {
    Header* kept = use == Use::kGrows ? take_larger(wanted) : take_kept(wanted.index, wanted.index);
    if (kept) {
      kept->asked = size;
      if (use == Use::kZeroed) std::memset(kept->block(), 0, size);
      return kept->block();
    }
  }
  give_back_old();
  if (!heap_.count_in(wanted.size)) return nullptr;
  void* start = map_pages(wanted.size);
  if (start == MAP_FAILED && give_back()) start = map_pages(wanted.size);
  if (start != MAP_FAILED) return begin(start, wanted.size, alignment, size);
  heap_.count_out(wanted.size);
  return nullptr;
}

LargeBlocks::Header* LargeBlocks::take(Shelf& shelf, std::size_t index) noexcept {
  Slot& slot = shelf.slots[index];
  if (slot.load(std::memory_order_relaxed) == nullptr) return nullptr;
  Header* found = slot.exchange(nullptr, std::memory_order_acquire);
  if (found) shelf.bytes.fetch_sub(found->size, std::memory_order_relaxed);
  return found;
}

// The largest of these sizes.
LargeBlocks::Header* LargeBlocks::take_kept(std::size_t first, std::size_t last) noexcept {
  const std::size_t own = own_shelf();
  for (std::size_t index = std::min(last, kSizes - 1) + 1; index-- > first;) {
    for (std::size_t i = 0; i < kShelves; ++i) {
      Header* found = take(shelves_[(own + i) % kShelves], index);
      if (!found) continue;
      found->mark = mark_of(found);
      return found;
    }
  }
  return nullptr;
}

// For a block that grows. What it may never use is pages that nobody else has, so there is a limit to that.
LargeBlocks::Header* LargeBlocks::take_larger(const SizeClass& wanted) noexcept {
  const bool may_lend = lent_.load(std::memory_order_relaxed) < kMostLent;
  Header* found = take_kept(wanted.index, may_lend ? wanted.index + kMuchLarger : wanted.index);
  if (!found) return nullptr;
  const std::size_t spare = found->size - wanted.size;
  lent_.fetch_add(spare, std::memory_order_relaxed);
  found->spare = static_cast<std::uint32_t>(spare / kPageSize);
  return found;
}

void LargeBlocks::take_back_spare(Header& header) noexcept {
  if (header.spare == 0) return;
  lent_.fetch_sub(std::size_t{header.spare} * kPageSize, std::memory_order_relaxed);
  header.spare = 0;
}

bool LargeBlocks::put(Shelf& shelf, Header& header) noexcept {
  Slot& slot = shelf.slots[header.index];
  const std::size_t size = header.size;
  if (slot.load(std::memory_order_relaxed) != nullptr) return false;
  if (shelf.bytes.fetch_add(size, std::memory_order_relaxed) + size <= kMostOnAShelf) {
    Header* empty = nullptr;
    if (slot.compare_exchange_strong(empty, &header, std::memory_order_release, std::memory_order_relaxed)) {
      if (!has_kept_.load(std::memory_order_relaxed)) has_kept_.store(true, std::memory_order_relaxed);
      return true;
    }
  }
  shelf.bytes.fetch_sub(size, std::memory_order_relaxed);
  return false;
}

// The mark goes: a block that is freed twice is nobody's, which the process's allocator says.
bool LargeBlocks::keep(Header& header) noexcept {
  if (header.index == kNotKept) return false;
  header.asked = period_.load(std::memory_order_relaxed);
  header.mark = 0;
  const std::size_t own = own_shelf();
  for (std::size_t i = 0; i < kShelves; ++i) {
    if (put(shelves_[(own + i) % kShelves], header)) return true;
  }
  return false;
}

void LargeBlocks::remove(Header& header) noexcept {
  {
    const std::lock_guard guard(lock_);
    unlink(header);
  }
  const std::size_t size = header.size;
  header.mark = 0;
  // A mapping in the middle of others may be one too many to be cut out: it stays, without pages.
  if (::munmap(header.start, size) != 0) ::madvise(header.start, size, MADV_DONTNEED);
  heap_.count_out(size);
}

void LargeBlocks::free(Header& header) noexcept {
  take_back_spare(header);
  if (keep(header)) return;
  remove(header);
  give_back_old();
}

void* LargeBlocks::resize(Header& header, std::size_t size) noexcept {
  const auto offset = static_cast<std::size_t>(header.block() - header.start);
  if (size > PTRDIFF_MAX / 2) return nullptr;
  const SizeClass rounded = class_of(offset + size);
  const std::size_t old = header.size, wanted = rounded.size;
  // To grow within the block is no work. What is no longer used of one that may be kept is not worth a system call, up to its half.
  const std::size_t spare = header.index == kNotKept ? kPageSize : size >= header.asked ? old : old / 2 + 1;
  if (wanted <= old && old - wanted < spare) {
    header.asked = size;
    return header.block();
  }
  if (wanted > old && rounded.index != kNotKept && offset == sizeof(Header)) {
    if (Header* larger = take_larger(rounded)) {
      std::memcpy(larger->block(), header.block(), header.asked);
      larger->asked = size;
      free(header);
      return larger->block();
    }
  }
  if (wanted > old && !heap_.count_in(wanted - old)) return nullptr;
  take_back_spare(header);
  {
    const std::lock_guard guard(lock_);
    unlink(header);
  }
  header.mark = 0;
  void* moved = ::mremap(header.start, old, wanted, MREMAP_MAYMOVE);
  if (wanted > old ? moved == MAP_FAILED : moved != MAP_FAILED) heap_.count_out(wanted > old ? wanted - old : old - wanted);
  auto* now_at = moved == MAP_FAILED ? &header : reinterpret_cast<Header*>(static_cast<std::byte*>(moved) + offset) - 1;
  now_at->mark = mark_of(now_at);
  if (moved != MAP_FAILED) {
    now_at->start = static_cast<std::byte*>(moved);
    now_at->size = wanted;
    now_at->asked = size;
    now_at->index = offset == sizeof(Header) ? rounded.index : kNotKept;
    Heap::note_large_block(now_at->block());
  }
  {
    const std::lock_guard guard(lock_);
    link(*now_at);
  }
  return moved == MAP_FAILED && wanted > old ? nullptr : now_at->block();
}

bool LargeBlocks::give_back(std::uint64_t older_than) noexcept {
  bool any = false;
  for (Shelf& shelf : shelves_) {
    for (std::size_t index = 0; index < kSizes; ++index) {
      Header* header = take(shelf, index);
      if (!header || (header->asked >= older_than && put(shelf, *header))) continue;
      remove(*header);
      any = true;
    }
  }
  return any;
}

bool LargeBlocks::give_back() noexcept { return give_back(UINT64_MAX); }

void LargeBlocks::give_back_old() noexcept {
  if (!has_kept_.load(std::memory_order_relaxed)) return;
  const std::int64_t time = now();
  std::int64_t end = period_end_.load(std::memory_order_relaxed);
  if (time < end || !period_end_.compare_exchange_strong(end, time + kPeriod)) return;
  has_kept_.store(false, std::memory_order_relaxed);  // put() says so again
  give_back(period_.fetch_add(1, std::memory_order_relaxed));
}

}  // namespace deploy::loader
