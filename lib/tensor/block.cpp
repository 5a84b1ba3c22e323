#include "lib/tensor/block.h"

#include <algorithm>
#include <string>

#include "lib/tensor/shape.h"

namespace deploy {

namespace {

// On these devices `data` is a handle, not an address: an offset cannot be added to it.
bool data_is_handle(DLDeviceType type) { return type == kDLOpenCL || type == kDLVulkan || type == kDLMetal || type == kDLWebGPU; }

// A managed tensor that shares ownership of a block: one allocation an export.
struct Export {
  DLManagedTensorVersioned managed;
  std::shared_ptr<const detail::TensorAccess::Block> block;
};

}  // namespace

std::int64_t* Tensor::Block::dimension_storage(std::size_t count) {
  if (count <= few_.size()) return few_.data();
  many_ = std::make_unique<std::int64_t[]>(count);
  return many_.get();
}

void Tensor::Block::set_dimensions(std::span<const std::int64_t> shape, std::span<const std::int64_t> strides) {
  view.ndim = static_cast<std::int32_t>(shape.size());
  view.shape = dimension_storage(2 * shape.size());
  view.strides = view.shape + shape.size();
  std::copy(shape.begin(), shape.end(), view.shape);
  if (strides.empty()) {
    detail::fill_row_major(shape, view.strides);
  } else {
    std::copy(strides.begin(), strides.end(), view.strides);
  }
}

void Tensor::Block::adopt(const DLManagedTensorVersioned& managed) {
  view = managed.dl_tensor;
  flags = managed.flags;
  if (view.data && !data_is_handle(view.device.device_type)) {
    view.data = static_cast<std::byte*>(view.data) + view.byte_offset;
    view.byte_offset = 0;
  }
  const auto dimensions = static_cast<std::size_t>(view.ndim);
  if (dimensions > 0 && !view.strides) {
    view.strides = dimension_storage(dimensions);
    detail::fill_row_major({view.shape, dimensions}, view.strides);
  }
}

namespace detail {

DLManagedTensorVersioned* export_dlpack(const Tensor& tensor) {
  const auto& block = TensorAccess::block(tensor);
  if (!block) return nullptr;
  auto* exported = new Export{{}, block};
  exported->managed.version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION};
  exported->managed.manager_ctx = exported;
  exported->managed.deleter = [](DLManagedTensorVersioned* self) { delete static_cast<Export*>(self->manager_ctx); };
  exported->managed.flags = block->flags & ~static_cast<std::uint64_t>(DLPACK_FLAG_BITMASK_IS_COPIED);
  exported->managed.dl_tensor = block->view;
  return &exported->managed;
}

Result<void> check_dlpack(const DLManagedTensorVersioned* managed) {
  const auto invalid = [](std::string message) {
    return Failure{ErrorCode::kInvalidArgument, "DLPack tensor: " + std::move(message)};
  };
  if (!managed) return invalid("a null pointer");
  if (managed->version.major != DLPACK_MAJOR_VERSION) {
    return invalid("made by DLPack " + std::to_string(managed->version.major) + "." + std::to_string(managed->version.minor) +
                   "; this library reads version " + std::to_string(DLPACK_MAJOR_VERSION) + ".x");
  }
  const DLTensor& view = managed->dl_tensor;
  if (view.ndim < 0) return invalid("has " + std::to_string(view.ndim) + " dimensions");
  if (view.ndim > 0 && !view.shape) return invalid("has " + std::to_string(view.ndim) + " dimensions and no shape");
  const std::span<const std::int64_t> shape(view.shape, static_cast<std::size_t>(view.ndim));
  const DType dtype{view.dtype.code, view.dtype.bits, view.dtype.lanes};
  if (const auto bytes = checked_bytes(shape, dtype); !bytes) return invalid(bytes.failure().message);
  return {};
}

}  // namespace detail
}  // namespace deploy
