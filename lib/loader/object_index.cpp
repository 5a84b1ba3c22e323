#include "lib/loader/object_index.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace deploy::loader {

// A sequence lock over a sorted array (Lameter, "Effective Synchronization on Linux/NUMA Systems", 2005; Boehm, "Can Seqlocks Get Along With
// Programming Language Memory Models?", MSPC 2012): a writer makes the count odd, changes the array, makes it even; a reader that saw
// an odd or a changed count reads again. All cells are atomics, read relaxed, so a torn read is detected and never undefined. Arrays that
// were outgrown are kept, because a reader may still look at one; they double, so all of them together are smaller than the current one.
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
  std::mutex writers;
  std::atomic<std::uint64_t> sequence{0};
  std::atomic<Table*> table{nullptr};
  std::vector<std::unique_ptr<Table>> tables;  // the last one is current
};

// Never destroyed: private code may still throw while static objects of the process are being destroyed.
Index& index() {
  static Index* instance = new Index;
  return *instance;
}

IndexedObject load(const Cell& c) {
  return {c.start.load(std::memory_order_relaxed), c.end.load(std::memory_order_relaxed), c.eh_frame_header.load(std::memory_order_relaxed),
          c.library.load(std::memory_order_relaxed)};
}

void store(Cell& c, const IndexedObject& o) {
  c.start.store(o.start, std::memory_order_relaxed);
  c.end.store(o.end, std::memory_order_relaxed);
  c.eh_frame_header.store(o.eh_frame_header, std::memory_order_relaxed);
  c.library.store(o.library, std::memory_order_relaxed);
}

// Runs `change` on a plain copy of the table and publishes the result.
template <class Change>
void update(Change change) {
  Index& ix = index();
  const std::lock_guard lock(ix.writers);
  Table* table = ix.table.load(std::memory_order_relaxed);
  std::vector<IndexedObject> objects;
  for (std::size_t i = 0; table && i < table->size.load(std::memory_order_relaxed); ++i) objects.push_back(load(table->cells[i]));
  change(objects);
  if (!table || table->capacity < objects.size()) {
    ix.tables.push_back(std::make_unique<Table>(std::max<std::size_t>(64, objects.size() * 2)));
    table = ix.tables.back().get();
  }
  ix.sequence.fetch_add(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (std::size_t i = 0; i < objects.size(); ++i) store(table->cells[i], objects[i]);
  table->size.store(objects.size(), std::memory_order_relaxed);
  ix.table.store(table, std::memory_order_release);
  ix.sequence.fetch_add(1, std::memory_order_release);
}

}  // namespace

void index_add(const IndexedObject& object) {
  update([&](std::vector<IndexedObject>& objects) {
    auto at = std::lower_bound(objects.begin(), objects.end(), object.start, [](const IndexedObject& o, std::uintptr_t s) { return o.start < s; });
    objects.insert(at, object);
  });
}

void index_remove(std::uintptr_t start) {
  update([&](std::vector<IndexedObject>& objects) { std::erase_if(objects, [&](const IndexedObject& o) { return o.start == start; }); });
}

bool index_find(std::uintptr_t address, IndexedObject& found) {
  Index& ix = index();
  while (true) {
    const std::uint64_t before = ix.sequence.load(std::memory_order_acquire);
    if (before & 1) continue;
    const Table* table = ix.table.load(std::memory_order_acquire);
    bool hit = false;
    if (table) {
      std::size_t low = 0, high = std::min(table->size.load(std::memory_order_relaxed), table->capacity);
      while (low < high) {
        const std::size_t middle = (low + high) / 2;
        if (table->cells[middle].end.load(std::memory_order_relaxed) <= address) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      if (low < table->size.load(std::memory_order_relaxed) && low < table->capacity) {
        found = load(table->cells[low]);
        hit = found.start <= address && address < found.end;
      }
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    if (ix.sequence.load(std::memory_order_relaxed) == before) return hit;
  }
}

}  // namespace deploy::loader
