#pragma once

#include <dlpack/dlpack.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "deploy/tensor.h"
#include "lib/support/result.h"

namespace deploy {

// What the handles of one tensor share. `view` is complete: shape and strides are set wherever there are dimensions, and
// byte_offset is applied to data where data is an address. Derived classes own the memory and free it in their destructor.
struct Tensor::Block {
  Block() = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  DLTensor view = {};
  std::uint64_t flags = 0;
  const void* origin = nullptr;  // whose memory it is, for the layers above: an interpreter, or null

  // Sets view's shape and strides to copies of these; no strides: row-major.
  void set_dimensions(std::span<const std::int64_t> shape, std::span<const std::int64_t> strides);
  // Sets view and flags to those of `managed`, whose arrays are used in place, with what it leaves out filled in.
  void adopt(const DLManagedTensorVersioned& managed);

 private:
  std::int64_t* dimension_storage(std::size_t count);

  std::array<std::int64_t, 12> few_;
  std::unique_ptr<std::int64_t[]> many_;
};

namespace detail {

// How the layers above make tensors with a memory of their own kind.
struct TensorAccess {
  using Block = Tensor::Block;
  static Tensor wrap(std::shared_ptr<const Block> block) { return Tensor(std::move(block)); }
  static const std::shared_ptr<const Block>& block(const Tensor& tensor) { return tensor.managed_; }
};

// A new managed tensor over the memory of a tensor; null for an empty handle.
DLManagedTensorVersioned* export_dlpack(const Tensor& tensor);

// Whether a managed tensor can be read: its version, dimensions and sizes. It stays the caller's.
Result<void> check_dlpack(const DLManagedTensorVersioned* managed);

}  // namespace detail
}  // namespace deploy
