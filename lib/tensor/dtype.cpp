#include <string>

#include "deploy/tensor.h"
#include "lib/tensor/block.h"

namespace deploy {

namespace {

// The part of the name before the width; null: the name has no width, see fixed_name.
const char* family(std::uint8_t code) {
  switch (code) {
    case kDLInt:
      return "int";
    case kDLUInt:
      return "uint";
    case kDLFloat:
      return "float";
    case kDLOpaqueHandle:
      return "handle";
    case kDLBfloat:
      return "bfloat";
    case kDLComplex:
      return "complex";
    default:
      return nullptr;
  }
}

const char* fixed_name(std::uint8_t code) {
  switch (code) {
    case kDLBool:
      return "bool";
    case kDLFloat8_e3m4:
      return "float8_e3m4";
    case kDLFloat8_e4m3:
      return "float8_e4m3";
    case kDLFloat8_e4m3b11fnuz:
      return "float8_e4m3b11fnuz";
    case kDLFloat8_e4m3fn:
      return "float8_e4m3fn";
    case kDLFloat8_e4m3fnuz:
      return "float8_e4m3fnuz";
    case kDLFloat8_e5m2:
      return "float8_e5m2";
    case kDLFloat8_e5m2fnuz:
      return "float8_e5m2fnuz";
    case kDLFloat8_e8m0fnu:
      return "float8_e8m0fnu";
    case kDLFloat6_e2m3fn:
      return "float6_e2m3fn";
    case kDLFloat6_e3m2fn:
      return "float6_e3m2fn";
    case kDLFloat4_e2m1fn:
      return "float4_e2m1fn";
    default:
      return nullptr;
  }
}

}  // namespace

const char* to_string(TensorLibrary library) noexcept {
  return library == TensorLibrary::kTorch ? "torch" : library == TensorLibrary::kNumpy ? "numpy" : "any";
}

std::string to_string(DType dtype) {
  std::string name;
  if (const char* prefix = family(dtype.code)) {
    name = prefix + std::to_string(dtype.bits);
  } else if (const char* fixed = fixed_name(dtype.code)) {
    name = fixed;
  } else {
    name = "dlpack_" + std::to_string(dtype.code) + "_" + std::to_string(dtype.bits);
  }
  if (dtype.lanes != 1) name += "x" + std::to_string(dtype.lanes);
  return name;
}

}  // namespace deploy
