#include "lib/loader/object_index.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "lib/support/forks.h"

namespace deploy::loader {

// Two arrays, of which readers use one while a writer changes the other; then it turns them over by counting up (a sequence lock
// that is always readable: "latch" in the Linux kernel's seqlock.h; Boehm, "Can Seqlocks Get Along With Programming Language Memory
// Models?", MSPC 2012). The count's lowest bit says which one to read. A reader reads again where the count went on meanwhile, for
// then its array may be the one that changes. So readers never wait, not even a signal handler that interrupts the writer in its
// own thread. All cells are atomics: a torn read is detected and never undefined; who sees one of a change (acquire) sees the count
// that came before that change (release), too. Arrays that were outgrown are kept, because a reader may still look at one; they
// double, so all of them together are smaller than the current ones.
namespace {

struct Cell {
  std::atomic<std::uintptr_t> start{0}, end{0}, eh_frame_header{0};
  std::atomic<Library*> library{nullptr};
};

struct Table {
  explicit Table(std::size_t capacity) : capacity(capacity), cells(new Cell[capacity]) {}
  const std::size_t capacity;
  std::unique_ptr<Cell[]> cells;
  std::atomic<std::size_t> size{0};
};

struct Index {
  ForkLock writers;
  std::atomic<std::uint64_t> count{0};
  std::atomic<Table*> sides[2] = {nullptr, nullptr};
  std::vector<std::unique_ptr<Table>> tables;  // guarded by writers
};

// Never destroyed: private code may still throw while static objects of the process are being destroyed. And never constructed at
// run time: the first to ask may be a signal handler.
union Storage {
  Index index;
  constexpr Storage() : index() {}
  ~Storage() {}
};
constinit Storage g_storage;

Index& index() { return g_storage.index; }

IndexedObject load(const Cell& c) {
  return {c.start.load(std::memory_order_acquire), c.end.load(std::memory_order_acquire),
          c.eh_frame_header.load(std::memory_order_acquire), c.library.load(std::memory_order_acquire)};
}

void store(Cell& c, const IndexedObject& o) {
  c.start.store(o.start, std::memory_order_release);
  c.end.store(o.end, std::memory_order_release);
  c.eh_frame_header.store(o.eh_frame_header, std::memory_order_release);
  c.library.store(o.library, std::memory_order_release);
}

void register_writers() { [[maybe_unused]] static const bool once = (hold_in_forks(index().writers), true); }

// Runs `change` on a plain copy of the objects and publishes the result.
template <class Change>
void update(Change change) {
  Index& ix = index();
  register_writers();
  const std::lock_guard lock(ix.writers);
  const std::uint64_t count = ix.count.load(std::memory_order_relaxed);
  const Table* current = ix.sides[count & 1].load(std::memory_order_relaxed);
  std::vector<IndexedObject> objects;
  const std::size_t size = current ? current->size.load(std::memory_order_relaxed) : 0;
  objects.reserve(size + 1);
  for (std::size_t i = 0; i < size; ++i) objects.push_back(load(current->cells[i]));
  change(objects);
  std::atomic<Table*>& side = ix.sides[(count + 1) & 1];
  Table* table = side.load(std::memory_order_relaxed);
  if (!table || table->capacity < objects.size()) {
    ix.tables.push_back(std::make_unique<Table>(std::max<std::size_t>(64, objects.size() * 2)));
    table = ix.tables.back().get();
  }
  for (std::size_t i = 0; i < objects.size(); ++i) store(table->cells[i], objects[i]);
  table->size.store(objects.size(), std::memory_order_release);
  side.store(table, std::memory_order_release);
  ix.count.store(count + 1, std::memory_order_release);
}

// In one array, which may be changing.
bool find_in(const Table& table, std::uintptr_t address, IndexedObject& found) {
  const std::size_t size = std::min(table.size.load(std::memory_order_acquire), table.capacity);
  std::size_t low = 0, high = size;
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (table.cells[middle].end.load(std::memory_order_acquire) <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == size) return false;
  found = load(table.cells[low]);
  return found.start <= address && address < found.end;
}

}  // namespace

void index_add(const IndexedObject& object) {
  update([&](std::vector<IndexedObject>& objects) {
    auto at = std::lower_bound(objects.begin(), objects.end(), object.start,
                               [](const IndexedObject& o, std::uintptr_t s) { return o.start < s; });
    objects.insert(at, object);
  });
}

void index_remove(std::uintptr_t start) {
  update([&](std::vector<IndexedObject>& objects) {
    std::erase_if(objects, [&](const IndexedObject& o) { return o.start == start; });
  });
}

bool index_find(std::uintptr_t address, IndexedObject& found) {
  Index& ix = index();
  while (true) {
    const std::uint64_t before = ix.count.load(std::memory_order_acquire);
    const Table* table = ix.sides[before & 1].load(std::memory_order_acquire);
    const bool hit = table && find_in(*table, address, found);
    if (ix.count.load(std::memory_order_relaxed) == before) return hit;
  }
}

}  // namespace deploy::loader
