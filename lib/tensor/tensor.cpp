#include "deploy/tensor.h"

#include <new>
#include <string>
#include <utility>

#include "deploy/error.h"
#include "lib/tensor/block.h"
#include "lib/tensor/shape.h"

namespace deploy {

namespace {

using Block = detail::TensorAccess::Block;

constexpr std::align_val_t kAlignment{64};

struct OwnedBlock : Block {
  ~OwnedBlock() { ::operator delete(view.data, kAlignment); }
};

struct BlobBlock : Block {
  ~BlobBlock() {
    if (deleter) deleter();
  }
  std::function<void()> deleter;
};

struct ManagedBlock : Block {
  ~ManagedBlock() {
    if (managed && managed->deleter) managed->deleter(managed);
  }
  DLManagedTensorVersioned* managed = nullptr;
};

DLDataType to_dl(DType dtype) { return {dtype.code, dtype.bits, dtype.lanes}; }

template <class T>
const T& check_defined(const std::shared_ptr<T>& block, const char* what) {
  if (!block) throw Error(ErrorCode::kInvalidArgument, std::string("an empty deploy::Tensor has no ") + what);
  return *block;
}

}  // namespace

Tensor Tensor::empty(std::vector<std::int64_t> shape, DType dtype) {
  const std::size_t bytes = detail::checked_bytes(shape, dtype).value();
  auto block = std::make_shared<OwnedBlock>();
  block->set_dimensions(shape, {});
  block->view.dtype = to_dl(dtype);
  block->view.device = {kDLCPU, 0};
  block->view.data = ::operator new(bytes, kAlignment, std::nothrow);
  if (!block->view.data) {
    throw Error(ErrorCode::kSystem, "no memory for a tensor " + to_string(dtype) + detail::shape_text(shape) + " of " +
                                        std::to_string(bytes) + " bytes");
  }
  return Tensor(std::move(block));
}

Tensor Tensor::from_blob(void* data, std::vector<std::int64_t> shape, DType dtype, std::function<void()> deleter,
                         std::vector<std::int64_t> strides, Device device) {
  const std::size_t bytes = detail::checked_bytes(shape, dtype).value();
  if (!data && bytes > 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "from_blob: data is null for a tensor " + to_string(dtype) + detail::shape_text(shape));
  }
  if (!strides.empty() && strides.size() != shape.size()) {
    throw Error(ErrorCode::kInvalidArgument, "from_blob: strides " + detail::shape_text(strides) + " for shape " +
                                                 detail::shape_text(shape) + "; expected one stride a dimension, or none");
  }
  auto block = std::make_shared<BlobBlock>();
  block->set_dimensions(shape, strides);
  block->view.data = data;
  block->view.dtype = to_dl(dtype);
  block->view.device = {static_cast<DLDeviceType>(device.type), device.index};
  block->deleter = std::move(deleter);
  return Tensor(std::move(block));
}

Tensor Tensor::from_dlpack(DLManagedTensorVersioned* managed) {
  detail::check_dlpack(managed).value();
  auto block = std::make_shared<ManagedBlock>();
  block->adopt(*managed);
  block->managed = managed;
  return Tensor(std::move(block));
}

DLManagedTensorVersioned* Tensor::to_dlpack() const {
  check_defined(managed_, "DLPack form");
  return detail::export_dlpack(*this);
}

DType Tensor::dtype() const {
  const DLDataType& dtype = check_defined(managed_, "dtype").view.dtype;
  return {dtype.code, dtype.bits, dtype.lanes};
}

Device Tensor::device() const {
  const DLDevice& device = check_defined(managed_, "device").view.device;
  return {device.device_type, device.device_id};
}

std::span<const std::int64_t> Tensor::shape() const {
  const DLTensor& view = check_defined(managed_, "shape").view;
  return {view.shape, static_cast<std::size_t>(view.ndim)};
}

std::span<const std::int64_t> Tensor::strides() const {
  const DLTensor& view = check_defined(managed_, "strides").view;
  return {view.strides, static_cast<std::size_t>(view.ndim)};
}

std::int64_t Tensor::numel() const {
  std::int64_t product = 1;
  for (const std::int64_t size : shape()) product *= size;
  return product;
}

bool Tensor::is_contiguous() const {
  const auto sizes = shape();
  const auto steps = strides();
  if (numel() == 0) return true;
  std::int64_t expected = 1;
  for (std::size_t i = sizes.size(); i-- > 0;) {
    if (sizes[i] != 1 && steps[i] != expected) return false;
    expected *= sizes[i];
  }
  return true;
}

bool Tensor::read_only() const { return check_defined(managed_, "flags").flags & DLPACK_FLAG_BITMASK_READ_ONLY; }

// byte_offset is not 0 only where data is a handle (Block::adopt), which has no address to add it to.
void* Tensor::data() const { return check_defined(managed_, "data").view.data; }

void Tensor::check_element_size(std::size_t size) const {
  if (size == dtype().size()) return;
  throw Error(ErrorCode::kInvalidArgument, "data_as of an element type of " + std::to_string(size) + " bytes on a tensor of " +
                                               to_string(dtype()) + ", whose elements have " + std::to_string(dtype().size()));
}

}  // namespace deploy
