#include "outputs.h"

#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <vector>

Reference::Reference(const std::string& path) : given_(!path.empty()) {
  if (!given_) return;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read the reference " + path);
  bytes_.assign(std::istreambuf_iterator<char>(file), {});
}

void Comparison::add(const void* data, std::size_t size) {
  if (!reference_.given() || !equal_) return;
  const std::string& bytes = reference_.bytes();
  equal_ = size <= bytes.size() - offset_ && std::memcmp(bytes.data() + offset_, data, size) == 0;
  offset_ += equal_ ? size : 0;
}

void Comparison::add(const deploy::Value& value) {
  switch (value.kind()) {
    case deploy::Value::Kind::kTensor: {
      const deploy::Tensor tensor = value.as_tensor().is_contiguous() ? value.as_tensor() : copy(value.as_tensor());
      return add(tensor.data(), tensor.nbytes());
    }
    case deploy::Value::Kind::kDict:
      for (const auto& [key, item] : value.dict_items()) add(item);
      return;
    case deploy::Value::Kind::kList:
    case deploy::Value::Kind::kTuple:
      for (const deploy::Value& item : value.items()) add(item);
      return;
    default:
      return;
  }
}

namespace {

// Copies dimension `axis` and all after it, to consecutive addresses from `to` on; returns the end.
char* copy_strided(const deploy::Tensor& tensor, std::size_t axis, const char* from, char* to) {
  const std::size_t element = tensor.dtype().size();
  if (axis == tensor.shape().size()) {
    std::memcpy(to, from, element);
    return to + element;
  }
  for (std::int64_t i = 0; i < tensor.shape()[axis]; ++i) {
    to = copy_strided(tensor, axis + 1, from + i * tensor.strides()[axis] * static_cast<std::int64_t>(element), to);
  }
  return to;
}

}  // namespace

deploy::Tensor copy(const deploy::Tensor& tensor) {
  const auto result = deploy::Tensor::empty({tensor.shape().begin(), tensor.shape().end()}, tensor.dtype());
  if (tensor.numel() > 0) copy_strided(tensor, 0, static_cast<const char*>(tensor.data()), static_cast<char*>(result.data()));
  return result;
}
