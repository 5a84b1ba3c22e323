#pragma once

#include <cstddef>
#include <string>

#include "deploy/tensor.h"
#include "deploy/value.h"

// The bytes of the tensors that a model is expected to answer, one after the other (reference.py writes them).
class Reference {
 public:
  // An empty path: everything is as expected. Throws std::runtime_error where the file cannot be read.
  explicit Reference(const std::string& path);

  bool given() const { return given_; }
  const std::string& bytes() const { return bytes_; }

 private:
  bool given_;
  std::string bytes_;
};

// Compares one output with a reference, tensor by tensor, in order.
class Comparison {
 public:
  explicit Comparison(const Reference& reference) : reference_(reference) {}
  void add(const void* data, std::size_t size);
  void add(const deploy::Value& value);  // every tensor in it, depth first
  bool equal() const { return !reference_.given() || (equal_ && offset_ == reference_.bytes().size()); }

 private:
  const Reference& reference_;
  std::size_t offset_ = 0;
  bool equal_ = true;
};

// A contiguous copy in the host's own memory.
deploy::Tensor copy(const deploy::Tensor& tensor);
