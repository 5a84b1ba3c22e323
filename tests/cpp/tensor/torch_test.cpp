#include "deploy/torch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cpp/error_of.h"

namespace deploy {
namespace {

using testing::HasSubstr;

TEST(TorchBridge, TensorsShareMemoryInBothDirections) {
  const at::Tensor source = at::arange(6, at::kFloat).reshape({2, 3});
  const Value value = from_tensor(source);
  EXPECT_EQ(value.as_tensor().data(), source.data_ptr());
  EXPECT_EQ(value.repr(), "Tensor(float32[2, 3])");
  at::Tensor back = to_tensor(value);
  EXPECT_EQ(back.data_ptr(), source.data_ptr());
  back[1][2] = 42;
  EXPECT_EQ(source[1][2].item<float>(), 42.0f);
}

TEST(TorchBridge, MemoryOutlivesTheTensorItCameFrom) {
  Value value;
  {
    const at::Tensor source = at::full({1000}, 7.0);
    value = from_tensor(source);
  }
  at::Tensor back = to_tensor(value);
  value = {};
  EXPECT_EQ(back.sum().item<float>(), 7000.0f);
}

TEST(TorchBridge, StridesAndSpecialShapesAreKept) {
  const at::Tensor transposed = at::rand({3, 4}).t();
  EXPECT_TRUE(at::equal(to_tensor(from_tensor(transposed)), transposed));
  EXPECT_EQ(to_tensor(from_tensor(transposed)).strides(), transposed.strides());
  EXPECT_EQ(to_tensor(from_tensor(at::scalar_tensor(3))).dim(), 0);
  EXPECT_EQ(to_tensor(from_tensor(at::empty({0, 5}))).sizes(), (at::IntArrayRef{0, 5}));
}

TEST(TorchBridge, EveryCommonElementTypeCrosses) {
  for (const at::ScalarType type :
       {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16, at::kFloat, at::kDouble,
        at::kComplexFloat, at::kComplexDouble, at::kUInt16, at::kUInt32, at::kUInt64, at::kFloat8_e4m3fn}) {
    const at::Tensor back = to_tensor(from_tensor(at::zeros({2}, at::kFloat).to(type)));
    EXPECT_EQ(back.scalar_type(), type) << c10::toString(type);
  }
}

TEST(TorchBridge, TensorThatRequiresGradCrossesDetached) {
  at::Tensor source = at::ones({2});
  source.requires_grad_(true);
  const at::Tensor back = to_tensor(from_tensor(source));
  EXPECT_FALSE(back.requires_grad());
  EXPECT_EQ(back.data_ptr(), source.data_ptr());
}

TEST(TorchBridge, LazyConjugateIsComputed) {
  const at::Tensor conjugate = at::full({1}, c10::complex<float>(1, 2), at::kComplexFloat).conj();
  EXPECT_TRUE(at::equal(to_tensor(from_tensor(conjugate)), conjugate.resolve_conj()));
}

TEST(TorchBridge, WhatHasNoStridedMemoryIsRefused) {
  EXPECT_THAT(error_of([] { from_tensor(at::eye(2).to_sparse()); }).message(),
              HasSubstr("an at::Tensor that is sparse has no strided memory"));
  EXPECT_THAT(error_of([] { from_tensor(at::empty({2}, at::device(at::kMeta))); }).message(), HasSubstr("meta"));
  EXPECT_EQ(from_tensor(at::Tensor()).kind(), Value::Kind::kNone);
}

TEST(TorchBridge, TensorWithATypeThatTorchDoesNotHaveIsRefused) {
  const Error error = error_of([] { to_tensor(Tensor::empty({1}, DType{2, 128, 1})); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message(), HasSubstr("a deploy::Tensor of float128: "));
  EXPECT_THAT(error_of([] { to_tensor(Value(3)); }).message(), HasSubstr("expected a value of kind Tensor, found int: 3"));
}

TEST(TorchBridge, IvaluesCrossAsTrees) {
  const Value value =
      Value::tuple({1, 2.5, true, "text", Value(), Value::list({from_tensor(at::ones({2})), from_tensor(at::zeros({1}))}),
                    Value::dict({{"a", 1}, {"b", 2}}), std::complex<double>(1, 2)});
  const c10::IValue ivalue = to_ivalue(value);
  ASSERT_TRUE(ivalue.isTuple());
  EXPECT_TRUE(ivalue.toTupleRef().elements().vec()[5].isTensorList());
  EXPECT_EQ(from_ivalue(ivalue).repr(), value.repr());
}

TEST(TorchBridge, TypedListsOfTorchScriptBecomeLists) {
  EXPECT_EQ(from_ivalue(c10::List<std::int64_t>({1, 2})).repr(), "[1, 2]");
  EXPECT_TRUE(to_ivalue(Value::list({1, 2})).isIntList());
  EXPECT_TRUE(to_ivalue(Value::list({1.0})).isDoubleList());
  EXPECT_TRUE(to_ivalue(Value::list({1, "x"})).isList());
}

TEST(TorchBridge, WhatTorchScriptDoesNotHaveIsRefused) {
  EXPECT_EQ(error_of([] { to_ivalue(Value::bytes("x")); }).message(), "a value of kind bytes has no c10::IValue form");
  EXPECT_THAT(error_of([] { to_ivalue(Value::dict({{1, 2}, {"a", 3}})); }).message(), HasSubstr("needs keys of one type"));
  EXPECT_EQ(error_of([] { from_ivalue(c10::IValue(at::Device(at::kCPU))); }).code(), ErrorCode::kNotAValue);
}

}  // namespace
}  // namespace deploy
