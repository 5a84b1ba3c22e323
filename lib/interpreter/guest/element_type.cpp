#include "lib/interpreter/guest/element_type.h"

namespace deploy::guest {
namespace {

struct ElementType {
  uint8_t code, bits;
  const char* name;
  const char* format;  // of the buffer protocol; 64-bit integers are C's long, as numpy has them
  bool in_torch;
};

constexpr ElementType kElementTypes[] = {
    {kDLBool, 8, "bool", "?", true},
    {kDLInt, 8, "int8", "b", true},
    {kDLInt, 16, "int16", "h", true},
    {kDLInt, 32, "int32", "i", true},
    {kDLInt, 64, "int64", "l", true},
    {kDLUInt, 8, "uint8", "B", true},
    {kDLUInt, 16, "uint16", "H", true},
    {kDLUInt, 32, "uint32", "I", true},
    {kDLUInt, 64, "uint64", "L", true},
    {kDLFloat, 16, "float16", "e", true},
    {kDLFloat, 32, "float32", "f", true},
    {kDLFloat, 64, "float64", "d", true},
    {kDLBfloat, 16, "bfloat16", nullptr, true},
    {kDLComplex, 32, "complex32", nullptr, true},
    {kDLComplex, 64, "complex64", "Zf", true},
    {kDLComplex, 128, "complex128", "Zd", true},
    {kDLFloat8_e3m4, 8, "float8_e3m4", nullptr, false},
    {kDLFloat8_e4m3, 8, "float8_e4m3", nullptr, false},
    {kDLFloat8_e4m3b11fnuz, 8, "float8_e4m3b11fnuz", nullptr, false},
    {kDLFloat8_e4m3fn, 8, "float8_e4m3fn", nullptr, true},
    {kDLFloat8_e4m3fnuz, 8, "float8_e4m3fnuz", nullptr, true},
    {kDLFloat8_e5m2, 8, "float8_e5m2", nullptr, true},
    {kDLFloat8_e5m2fnuz, 8, "float8_e5m2fnuz", nullptr, true},
    {kDLFloat8_e8m0fnu, 8, "float8_e8m0fnu", nullptr, true},
};

const ElementType* find(DLDataType dtype) {
  if (dtype.lanes != 1) return nullptr;
  for (const ElementType& type : kElementTypes) {
    if (type.code == dtype.code && type.bits == dtype.bits) return &type;
  }
  return nullptr;
}

}  // namespace

Ref element_type_name(DLDataType dtype) {
  if (const ElementType* type = find(dtype)) return Ref(PyUnicode_FromString(type->name));
  return Ref(PyUnicode_FromFormat("dtype(%d, %d, %d)", dtype.code, dtype.bits, dtype.lanes));
}

const char* buffer_format(DLDataType dtype) {
  const ElementType* type = find(dtype);
  return type ? type->format : nullptr;
}

bool torch_has(DLDataType dtype) {
  const ElementType* type = find(dtype);
  return type && type->in_torch;
}

}  // namespace deploy::guest
