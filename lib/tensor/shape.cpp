#include "lib/tensor/shape.h"

#include <algorithm>
#include <limits>

namespace deploy::detail {

void fill_row_major(std::span<const std::int64_t> shape, std::int64_t* strides) {
  std::int64_t step = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step *= std::max<std::int64_t>(shape[i], 1);
  }
}

// Sizes of 0 are left out of the product: the strides of such a tensor must not overflow either.
Result<std::size_t> checked_bytes(std::span<const std::int64_t> shape, DType dtype) {
  std::int64_t product = 1;
  bool empty = false;
  for (const std::int64_t size : shape) {
    if (size < 0) return Failure{ErrorCode::kInvalidArgument, "shape " + shape_text(shape) + " has a negative size"};
    if (size == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(product, size, &product)) {
      return Failure{ErrorCode::kInvalidArgument, "shape " + shape_text(shape) + " has more elements than 63 bits can count"};
    }
  }
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(product, static_cast<std::int64_t>(dtype.size()), &bytes)) {
    return Failure{ErrorCode::kInvalidArgument,
                   "shape " + shape_text(shape) + " of " + to_string(dtype) + " is larger than 63 bits can address"};
  }
  return empty ? 0 : static_cast<std::size_t>(bytes);
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace deploy::detail
