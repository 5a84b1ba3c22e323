#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "deploy/tensor.h"
#include "lib/support/result.h"

namespace deploy::detail {

// Row-major strides, in elements.
void fill_row_major(std::span<const std::int64_t> shape, std::int64_t* strides);

// The product of the sizes times the element size. Fails for a negative size, and where it does not fit int64.
Result<std::size_t> checked_bytes(std::span<const std::int64_t> shape, DType dtype);

// "[2, 3]"
std::string shape_text(std::span<const std::int64_t> shape);

}  // namespace deploy::detail
