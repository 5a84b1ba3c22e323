// What the inline code of the C++ standard library calls in libstdc++, which the image does not have (guest.h): memory, and the
// errors that would be exceptions. They end the process, as CPython's own broken invariants do. The image does not export any of
// these.

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "lib/interpreter/guest/guest.h"

namespace {

void* (*allocate_reserve)(std::size_t) = nullptr;

void* allocate(std::size_t size) {
  void* memory = std::malloc(size ? size : 1);
  if (memory == nullptr && allocate_reserve != nullptr) memory = allocate_reserve(size ? size : 1);
  if (memory == nullptr) Py_FatalError("the guest of an interpreter is out of memory");
  return memory;
}

}  // namespace

namespace deploy::guest {
void use_reserve(void* (*allocate)(std::size_t)) { allocate_reserve = allocate; }
}  // namespace deploy::guest

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace std {

void __throw_length_error(const char* what) { Py_FatalError(what); }
void __throw_logic_error(const char* what) { Py_FatalError(what); }
void __throw_bad_alloc() { Py_FatalError("the guest of an interpreter is out of memory"); }
void __throw_bad_array_new_length() { Py_FatalError("the guest of an interpreter asked for an array of no possible size"); }
void __throw_bad_function_call() { Py_FatalError("the guest of an interpreter called an empty function"); }
void __throw_out_of_range_fmt(const char* format, ...) {
  char what[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  Py_FatalError(what);
}

}  // namespace std
