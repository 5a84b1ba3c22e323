#pragma once

#include <cstddef>
#include <new>
#include <utility>
#include <vector>

namespace deploy::guest {

// A stack on the heap, whose first elements are part of it: what is walked with it is seldom deep. Adding an element may move
// the others.
template <class T, std::size_t kParts = 6>
class Stack {
 public:
  Stack() = default;
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  ~Stack() {
    while (!empty()) pop();
  }

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t index) { return index < kParts ? *part(index) : rest_[index - kParts]; }
  const T& operator[](std::size_t index) const { return const_cast<Stack&>(*this)[index]; }
  T& top() { return (*this)[size_ - 1]; }

  void push(T element) {
    if (size_ < kParts) {
      new (part(size_)) T(std::move(element));
    } else {
      rest_.push_back(std::move(element));
    }
    ++size_;
  }
  // The element ends when it is off the stack: its end may run Python code.
  void pop() {
    [[maybe_unused]] const T last = std::move(top());
    --size_;
    if (size_ < kParts) {
      part(size_)->~T();
    } else {
      rest_.pop_back();
    }
  }

 private:
  T* part(std::size_t index) { return std::launder(reinterpret_cast<T*>(parts_ + index * sizeof(T))); }

  alignas(T) unsigned char parts_[kParts * sizeof(T)];
  std::vector<T> rest_;
  std::size_t size_ = 0;
};

}  // namespace deploy::guest
