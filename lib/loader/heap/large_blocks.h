#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "lib/support/forks.h"

// The blocks of a heap that are larger than mimalloc does well (DEPLOY_HEAP_LARGE): each is a mapping of its own.
//
// So the system decides on each request by itself, as it does for the C library's malloc: what is more than the machine has is
// refused at once (vm.overcommit_memory 0), and so is what `ulimit -v` forbids. Fresh pages are zero, and calloc leaves them alone.
// A block grows and shrinks by mremap, which moves no byte. And no thread has large blocks of its own: what one has freed the next
// one gets.
//
// In front of a block, in its first page, are 64 bytes that describe it. They are found without a lock: the table of owners says of
// 32 MiB of address space that large blocks begin there, and a number that is made of the address and a secret of the process says
// that one begins here. Blocks of other allocators may lie in the same 32 MiB.
//
// A freed block of up to 32 MiB is kept for some time, since a model asks for the same sizes at every call, and fresh pages cost
// more than the work that is done in them. For that, sizes are rounded up to an eighth of a power of two; what is behind the asked
// size is address space that nobody touches. Kept blocks lie in slots, one for each size in each of eight shelves. To fill or empty
// a slot is one atomic exchange, so that threads do not wait for each other, and each begins at another shelf. What lay in its slot
// for a whole second goes back to the system when the heap next asks that for something, or a session ends. A heap with a limit
// keeps nothing and rounds nothing.
//
// A block that grows takes a kept one of up to eight times the size, since it will probably grow on: in there that costs nothing.
// No more than 32 MiB of a heap are lent in this way.
namespace deploy::loader {

class Heap;

class LargeBlocks {
 public:
  explicit LargeBlocks(Heap& heap, bool keeps) : heap_(heap), keeps_(keeps) {}
  ~LargeBlocks();
  LargeBlocks(const LargeBlocks&) = delete;
  LargeBlocks& operator=(const LargeBlocks&) = delete;

  struct Header;
  // The large block that begins there, of any heap, or null. Lock-free.
  static Header* find(const void* block) noexcept;
  static Heap& heap_of(const Header& header) noexcept;
  static std::size_t size_of(const Header& header) noexcept;  // its usable bytes
  static std::size_t use_all(Header& header) noexcept;        // and from now on they are in use

  // Null where the limit or the system refuses. `alignment`: a power of two.
  enum class Use { kAny, kZeroed, kGrows };
  void* make(std::size_t alignment, std::size_t size, Use use) noexcept;
  void free(Header& header) noexcept;
  // As realloc; null leaves the block as it is.
  void* resize(Header& header, std::size_t size) noexcept;

  // Gives the kept blocks back to the system; true if there were any.
  bool give_back() noexcept;
  // Those that nobody wanted for a second. Cheap where there is nothing to do.
  void give_back_old() noexcept;

  // Around a fork, for all heaps.
  void lock() { lock_.lock(); }
  void unlock() { lock_.unlock(); }

 private:
  static constexpr std::size_t kSizes = 72, kShelves = 8;
  using Slot = std::atomic<Header*>;
  struct alignas(64) Shelf {
    std::array<Slot, kSizes> slots{};
    std::atomic<std::size_t> bytes{0};  // in the slots; no more than kMostOnAShelf
  };
  struct SizeClass;

  void* begin(void* start, std::size_t size, std::size_t alignment, std::size_t asked) noexcept;
  SizeClass class_of(std::size_t size) const noexcept;
  Header* take(Shelf& shelf, std::size_t index) noexcept;
  Header* take_kept(std::size_t first, std::size_t last) noexcept;
  Header* take_larger(const SizeClass& wanted) noexcept;
  void take_back_spare(Header& header) noexcept;
  bool put(Shelf& shelf, Header& header) noexcept;
  bool keep(Header& header) noexcept;
  bool give_back(std::uint64_t older_than) noexcept;
  void link(Header& header) noexcept;
  void unlink(Header& header) noexcept;
  void remove(Header& header) noexcept;

  Heap& heap_;
  const bool keeps_;
  std::array<Shelf, kShelves> shelves_{};
  std::atomic<bool> has_kept_{false};        // something may lie in a slot
  std::atomic<std::size_t> lent_{0};         // bytes of blocks that are there to grow into
  std::atomic<std::uint64_t> period_{1};     // a block remembers in which it was kept
  std::atomic<std::int64_t> period_end_{0};  // milliseconds
  ForkLock lock_;                            // never held during a system call
  Header* all_ = nullptr;                    // guarded by lock_: a list of all blocks, the kept ones as well
};

}  // namespace deploy::loader
