#pragma once

#include <cstddef>
#include <mutex>
#include <unordered_map>

namespace deploy::detail {

// The memory of one Python's small objects. CPython frees an arena when no object lives in it, and at its end thousands of objects
// still do (static types, interned strings, what extension modules keep): two megabytes of a bare interpreter, sixty with torch
// imported. They are unreachable once the link namespace is gone; the destructor frees them. Thread-safe.
class Arenas {
 public:
  Arenas() = default;
  Arenas(const Arenas&) = delete;
  Arenas& operator=(const Arenas&) = delete;
  ~Arenas();

  // Null where there is no memory. Page-aligned, zero.
  void* allocate(std::size_t size) noexcept;
  void free(void* arena, std::size_t size) noexcept;

  // Leaves what there is to the process: code that uses it is still mapped and running.
  void give_up() noexcept;

 private:
  std::mutex mutex_;
  std::unordered_map<void*, std::size_t> sizes_;  // guarded by mutex_
};

}  // namespace deploy::detail
