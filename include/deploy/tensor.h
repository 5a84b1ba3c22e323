#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "deploy/export.h"

struct DLManagedTensorVersioned;  // dlpack/dlpack.h, DLPack 1.0 and later

namespace deploy {

namespace detail {
struct TensorAccess;
}

// An element type, in DLPack's terms (DLDataType): code is a DLDataTypeCode, bits the width of one lane.
struct DType {
  std::uint8_t code = 2;
  std::uint8_t bits = 32;
  std::uint16_t lanes = 1;
  bool operator==(const DType&) const = default;

  // Bytes of one element, rounded up.
  constexpr std::size_t size() const { return (static_cast<std::size_t>(bits) * lanes + 7) / 8; }

  static constexpr DType boolean() { return {6, 8, 1}; }
  static constexpr DType int8() { return {0, 8, 1}; }
  static constexpr DType int16() { return {0, 16, 1}; }
  static constexpr DType int32() { return {0, 32, 1}; }
  static constexpr DType int64() { return {0, 64, 1}; }
  static constexpr DType uint8() { return {1, 8, 1}; }
  static constexpr DType uint16() { return {1, 16, 1}; }
  static constexpr DType uint32() { return {1, 32, 1}; }
  static constexpr DType uint64() { return {1, 64, 1}; }
  static constexpr DType float16() { return {2, 16, 1}; }
  static constexpr DType float32() { return {2, 32, 1}; }
  static constexpr DType float64() { return {2, 64, 1}; }
  static constexpr DType bfloat16() { return {4, 16, 1}; }
  static constexpr DType complex64() { return {5, 64, 1}; }
  static constexpr DType complex128() { return {5, 128, 1}; }
};

// "float32", "bfloat16", "bool", ...: numpy's and PyTorch's names; DLPack's own for the rest.
DEPLOY_API std::string to_string(DType dtype);

// Where the elements are, in DLPack's terms (DLDevice): type 1 is the CPU, 2 CUDA.
struct Device {
  std::int32_t type = 1;
  std::int32_t index = 0;
  bool operator==(const Device&) const = default;
};

// The library whose kind of array a tensor is in Python. Of the tensors that a host makes and does not mark (kAny), an interpreter
// makes torch.Tensors where its environment has torch, else numpy.ndarrays where it has numpy, else objects with the buffer and
// DLPack protocols; so it does with those marked kTorch. One marked kNumpy becomes a numpy.ndarray; the call fails where the
// environment has no numpy. What numpy cannot hold (bfloat16, memory of a device) is as kAny. A tensor in a result says what the
// Python code gave, and so goes back as the same: a scikit-learn model's ndarray is the next one's ndarray.
enum class TensorLibrary : std::uint8_t { kAny, kTorch, kNumpy };

// "any", "torch", "numpy".
DEPLOY_API const char* to_string(TensorLibrary library) noexcept;

// A handle on a strided, n-dimensional array whose memory somebody else may own. Copies are cheap and share the memory;
// it is freed when the last handle, here or in an interpreter, is gone. Handles may be copied, read and dropped on any thread;
// dropping one that came out of an interpreter never blocks on that interpreter. Writes to the elements are the
// caller's to synchronise.
class DEPLOY_API Tensor {
 public:
  // An empty handle: defined() is false, and nothing else may be asked of it.
  Tensor() noexcept = default;

  // A new, uninitialised, contiguous (row-major), 64-byte-aligned CPU tensor. Throws kInvalidArgument for a negative size or an
  // overflow.
  static Tensor empty(std::vector<std::int64_t> shape, DType dtype = DType::float32());

  // A tensor over `data`, which stays alive until `deleter` is called (on any thread, once, after the last handle; it must not
  // throw or block). strides counts elements, not bytes; empty means contiguous.
  static Tensor from_blob(void* data, std::vector<std::int64_t> shape, DType dtype, std::function<void()> deleter = {},
                          std::vector<std::int64_t> strides = {}, Device device = {});

  // Takes ownership of `managed` (its deleter is called after the last handle). Throws kInvalidArgument for null or another major
  // version; the caller keeps ownership then.
  static Tensor from_dlpack(DLManagedTensorVersioned* managed);

  // A new managed tensor over the same memory; the caller owns it and calls its deleter.
  DLManagedTensorVersioned* to_dlpack() const;

  bool defined() const noexcept { return managed_ != nullptr; }
  DType dtype() const;
  Device device() const;
  std::span<const std::int64_t> shape() const;
  // In elements; always as long as shape().
  std::span<const std::int64_t> strides() const;
  std::int64_t numel() const;
  std::size_t nbytes() const { return static_cast<std::size_t>(numel()) * dtype().size(); }
  bool is_contiguous() const;
  bool read_only() const;

  TensorLibrary library() const noexcept { return library_; }
  // A handle on the same memory that arrives in Python as that library's kind of array:
  // model(x.with_library(TensorLibrary::kNumpy)).
  Tensor with_library(TensorLibrary library) const& { return Tensor(*this).with_library(library); }
  Tensor with_library(TensorLibrary library) && {
    library_ = library;
    return std::move(*this);
  }

  // The first element (byte_offset applied). May be null where numel() is 0. A device pointer unless device().type is 1.
  void* data() const;

  // data() as T*. Throws kInvalidArgument unless T has the size of dtype().
  template <class T>
  T* data_as() const {
    check_element_size(sizeof(T));
    return static_cast<T*>(data());
  }

 private:
  friend struct detail::TensorAccess;
  struct Block;  // the managed tensor, with strides filled in
  explicit Tensor(std::shared_ptr<const Block> block) noexcept : managed_(std::move(block)) {}
  void check_element_size(std::size_t size) const;
  std::shared_ptr<const Block> managed_;
  TensorLibrary library_ = TensorLibrary::kAny;
};

}  // namespace deploy
