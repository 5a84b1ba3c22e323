// C++ exceptions inside one library: by type, by base, rethrown, nested, carried by exception_ptr, with destructors on the way.
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "fixture.h"

namespace {

struct Base {
  virtual ~Base() = default;
  virtual int id() const { return 1; }
};
struct Derived : Base {
  int id() const override { return 2; }
};
struct Counter {
  int& n;
  explicit Counter(int& c) : n(c) {}
  ~Counter() { ++n; }
};

__attribute__((noinline)) void deep(int depth, int& destroyed) {
  const Counter counter(destroyed);
  if (depth == 0) throw Derived();
  deep(depth - 1, destroyed);
  __asm__ volatile("");  // no tail call
}

int by_base() {
  int destroyed = 0;
  try {
    deep(20, destroyed);
  } catch (const Base& b) {
    return destroyed == 21 ? b.id() : -1;
  }
  return -2;
}

int rethrown() {
  try {
    try {
      throw std::runtime_error("text");
    } catch (const std::exception&) {
      throw;
    }
  } catch (const std::runtime_error& e) {
    return e.what() == std::string("text") ? 0 : -1;
  }
}

std::string nested() {
  try {
    try {
      throw std::runtime_error("inner");
    } catch (...) {
      std::throw_with_nested(std::logic_error("outer"));
    }
  } catch (const std::logic_error& outer) {
    try {
      std::rethrow_if_nested(outer);
    } catch (const std::runtime_error& inner) {
      return outer.what() + std::string(" ") + inner.what();
    }
  }
  return {};
}

}  // namespace

FIXTURE int check() {
  EXPECT(by_base() == 2);
  EXPECT(rethrown() == 0);
  EXPECT(nested() == "outer inner");
  std::exception_ptr carried;
  std::thread([&] {
    try {
      throw 12;
    } catch (...) {
      carried = std::current_exception();
    }
  }).join();
  try {
    std::rethrow_exception(carried);
  } catch (int n) {
    EXPECT(n == 12);
  }
  try {
    (void)std::string().at(1);
    return __LINE__;
  } catch (const std::out_of_range&) {
  }
  return 0;
}

FIXTURE int throw_often() {
  for (int i = 0; i < 500; ++i) EXPECT(by_base() == 2);
  return 0;
}
