#pragma once
#include <stdexcept>

struct __attribute__((visibility("default"))) CrossError : std::runtime_error {
  int code;
  CrossError(const char* what, int c) : std::runtime_error(what), code(c) {}
};

struct __attribute__((visibility("default"))) Shape {
  virtual ~Shape() {}
};
struct __attribute__((visibility("default"))) Circle : Shape {
  int radius = 3;
};
