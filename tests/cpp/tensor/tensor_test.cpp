#include "deploy/tensor.h"

#include <dlpack/dlpack.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <vector>

#include "deploy/error.h"
#include "tests/cpp/error_of.h"

namespace deploy {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A managed tensor whose deleter counts.
struct Source {
  std::vector<float> elements = std::vector<float>(24, 1.0f);
  std::vector<std::int64_t> shape = {2, 3};
  std::vector<std::int64_t> strides = {};
  int deleted = 0;
  DLManagedTensorVersioned managed = {};

  DLManagedTensorVersioned* get() {
    managed.version = {DLPACK_MAJOR_VERSION, 0};
    managed.manager_ctx = this;
    managed.deleter = [](DLManagedTensorVersioned* self) { ++static_cast<Source*>(self->manager_ctx)->deleted; };
    managed.dl_tensor.data = elements.data();
    managed.dl_tensor.device = {kDLCPU, 0};
    managed.dl_tensor.dtype = {kDLFloat, 32, 1};
    managed.dl_tensor.ndim = static_cast<std::int32_t>(shape.size());
    managed.dl_tensor.shape = shape.data();
    managed.dl_tensor.strides = strides.empty() ? nullptr : strides.data();
    return &managed;
  }
};

TEST(Tensor, NewOneIsContiguousAlignedAndOfTheAskedType) {
  const Tensor tensor = Tensor::empty({2, 0, 3}, DType::bfloat16());
  EXPECT_EQ(tensor.numel(), 0);
  const Tensor full = Tensor::empty({2, 4, 3}, DType::bfloat16());
  EXPECT_THAT(full.shape(), ElementsAre(2, 4, 3));
  EXPECT_THAT(full.strides(), ElementsAre(12, 3, 1));
  EXPECT_EQ(full.nbytes(), 48u);
  EXPECT_EQ(full.dtype(), DType::bfloat16());
  EXPECT_EQ(full.device(), Device{});
  EXPECT_TRUE(full.is_contiguous());
  EXPECT_FALSE(full.read_only());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(full.data()) % 64, 0u);
}

TEST(Tensor, ZeroDimensionsHaveOneElement) {
  const Tensor scalar = Tensor::empty({});
  EXPECT_EQ(scalar.numel(), 1);
  EXPECT_EQ(scalar.nbytes(), 4u);
  EXPECT_TRUE(scalar.shape().empty());
  EXPECT_TRUE(scalar.is_contiguous());
}

TEST(Tensor, NegativeSizeIsRefused) {
  const Error error = error_of([] { Tensor::empty({2, -1}); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error.message(), "shape [2, -1] has a negative size");
}

TEST(Tensor, OverflowingSizeIsRefused) {
  EXPECT_THAT(error_of([] { Tensor::empty({INT64_MAX, 2}); }).message(), HasSubstr("more elements than 63 bits can count"));
  EXPECT_THAT(error_of([] { Tensor::empty({INT64_MAX}); }).message(), HasSubstr("larger than 63 bits can address"));
}

TEST(Tensor, MemoryThatTheMachineDoesNotHaveIsAnError) {
  const Error error = error_of([] { Tensor::empty({std::int64_t{1} << 58}); });
  EXPECT_EQ(error.code(), ErrorCode::kSystem);
  EXPECT_THAT(error.message(), HasSubstr("no memory for a tensor float32[288230376151711744]"));
}

TEST(Tensor, BlobIsFreedOnceAfterTheLastHandle) {
  float elements[6] = {0, 1, 2, 3, 4, 5};
  int freed = 0;
  {
    Tensor tensor = Tensor::from_blob(elements, {2, 3}, DType::float32(), [&] { ++freed; });
    Tensor copy = tensor;
    tensor = {};
    EXPECT_EQ(freed, 0);
    EXPECT_EQ(copy.data(), elements);
    EXPECT_EQ(copy.data_as<float>()[5], 5.0f);
  }
  EXPECT_EQ(freed, 1);
}

TEST(Tensor, BlobWithStridesIsNotContiguous) {
  float elements[6] = {};
  const Tensor transposed = Tensor::from_blob(elements, {3, 2}, DType::float32(), {}, {1, 3});
  EXPECT_THAT(transposed.strides(), ElementsAre(1, 3));
  EXPECT_FALSE(transposed.is_contiguous());
  EXPECT_TRUE(Tensor::from_blob(elements, {1, 6}, DType::float32(), {}, {100, 1}).is_contiguous());
}

TEST(Tensor, BlobWithTooFewStridesOrNoDataIsRefused) {
  float element = 0;
  EXPECT_EQ(error_of([&] { Tensor::from_blob(&element, {1, 1}, DType::float32(), {}, {1}); }).message(),
            "from_blob: strides [1] for shape [1, 1]; expected one stride a dimension, or none");
  EXPECT_EQ(error_of([] { Tensor::from_blob(nullptr, {2}, DType::int64()); }).message(),
            "from_blob: data is null for a tensor int64[2]");
}

TEST(Tensor, ManyDimensionsAreKept) {
  const std::vector<std::int64_t> shape(20, 1);
  const Tensor tensor = Tensor::empty(shape);
  EXPECT_EQ(tensor.shape().size(), 20u);
  EXPECT_EQ(tensor.strides()[19], 1);
}

TEST(Tensor, ElementTypeOfAnotherSizeIsRefused) {
  const Error error = error_of([] { Tensor::empty({1}, DType::float16()).data_as<float>(); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error.message(), "data_as of an element type of 4 bytes on a tensor of float16, whose elements have 2");
}

TEST(Tensor, EmptyHandleSaysWhatItLacks) {
  const Tensor tensor;
  EXPECT_FALSE(tensor.defined());
  EXPECT_EQ(error_of([&] { static_cast<void>(tensor.shape()); }).message(), "an empty deploy::Tensor has no shape");
}

TEST(Tensor, TypesAreNamedAsNumpyAndTorchNameThem) {
  EXPECT_EQ(to_string(DType::float32()), "float32");
  EXPECT_EQ(to_string(DType::bfloat16()), "bfloat16");
  EXPECT_EQ(to_string(DType::boolean()), "bool");
  EXPECT_EQ(to_string(DType::uint16()), "uint16");
  EXPECT_EQ(to_string(DType::complex64()), "complex64");
  EXPECT_EQ(to_string(DType{kDLFloat8_e4m3fn, 8, 1}), "float8_e4m3fn");
  EXPECT_EQ(to_string(DType{kDLFloat, 32, 4}), "float32x4");
  EXPECT_EQ(to_string(DType{200, 8, 1}), "dlpack_200_8");
}

TEST(Dlpack, TensorIsTakenOverWithoutACopyAndDeletedOnce) {
  Source source;
  {
    const Tensor tensor = Tensor::from_dlpack(source.get());
    const Tensor copy = tensor;
    EXPECT_EQ(copy.data(), source.elements.data());
    EXPECT_THAT(copy.shape(), ElementsAre(2, 3));
    EXPECT_THAT(copy.strides(), ElementsAre(3, 1));  // filled in
    EXPECT_EQ(source.deleted, 0);
  }
  EXPECT_EQ(source.deleted, 1);
}

TEST(Dlpack, ByteOffsetIsAppliedToTheAddress) {
  Source source;
  source.get()->dl_tensor.byte_offset = 8;
  const Tensor tensor = Tensor::from_dlpack(&source.managed);
  EXPECT_EQ(tensor.data(), source.elements.data() + 2);
  DLManagedTensorVersioned* exported = tensor.to_dlpack();
  EXPECT_EQ(exported->dl_tensor.data, source.elements.data() + 2);
  EXPECT_EQ(exported->dl_tensor.byte_offset, 0u);
  exported->deleter(exported);
}

TEST(Dlpack, ExportKeepsTheMemoryAfterTheHandle) {
  Source source;
  source.strides = {1, 2};
  Tensor tensor = Tensor::from_dlpack(source.get());
  DLManagedTensorVersioned* first = tensor.to_dlpack();
  DLManagedTensorVersioned* second = tensor.to_dlpack();
  tensor = {};
  EXPECT_EQ(first->version.major, static_cast<unsigned>(DLPACK_MAJOR_VERSION));
  EXPECT_EQ(first->dl_tensor.strides[1], 2);
  first->deleter(first);
  EXPECT_EQ(source.deleted, 0);
  EXPECT_EQ(second->dl_tensor.shape[1], 3);
  second->deleter(second);
  EXPECT_EQ(source.deleted, 1);
}

TEST(Dlpack, RoundTripKeepsTheReadOnlyFlag) {
  Source source;
  source.get()->flags = DLPACK_FLAG_BITMASK_READ_ONLY | DLPACK_FLAG_BITMASK_IS_COPIED;
  const Tensor tensor = Tensor::from_dlpack(&source.managed);
  EXPECT_TRUE(tensor.read_only());
  DLManagedTensorVersioned* exported = tensor.to_dlpack();
  EXPECT_EQ(exported->flags, DLPACK_FLAG_BITMASK_READ_ONLY);
  exported->deleter(exported);
}

TEST(Dlpack, DeviceTensorPassesThroughByPointer) {
  Source source;
  source.get()->dl_tensor.device = {kDLCUDA, 3};
  source.managed.dl_tensor.data = reinterpret_cast<void*>(0x1000);
  const Tensor tensor = Tensor::from_dlpack(&source.managed);
  EXPECT_EQ(tensor.device(), (Device{2, 3}));
  EXPECT_EQ(tensor.data(), reinterpret_cast<void*>(0x1000));
}

TEST(Dlpack, WhatCannotBeReadIsRefusedAndStaysTheCallers) {
  EXPECT_EQ(error_of([] { Tensor::from_dlpack(nullptr); }).message(), "DLPack tensor: a null pointer");
  Source source;
  source.get()->version = {7, 2};
  EXPECT_EQ(error_of([&] { Tensor::from_dlpack(&source.managed); }).message(),
            "DLPack tensor: made by DLPack 7.2; this library reads version 1.x");
  source.get()->dl_tensor.ndim = -1;
  EXPECT_EQ(error_of([&] { Tensor::from_dlpack(&source.managed); }).message(), "DLPack tensor: has -1 dimensions");
  source.get()->dl_tensor.shape = nullptr;
  EXPECT_EQ(error_of([&] { Tensor::from_dlpack(&source.managed); }).message(), "DLPack tensor: has 2 dimensions and no shape");
  source.shape = {3, -3};
  EXPECT_EQ(error_of([&] { Tensor::from_dlpack(source.get()); }).message(), "DLPack tensor: shape [3, -3] has a negative size");
  EXPECT_EQ(source.deleted, 0);
}

TEST(Dlpack, HandlesAreDroppedOnAnyThread) {
  Source source;
  {
    const Tensor tensor = Tensor::from_dlpack(source.get());
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([tensor] {
        for (int j = 0; j < 1000; ++j) {
          DLManagedTensorVersioned* exported = Tensor(tensor).to_dlpack();
          exported->deleter(exported);
        }
      });
    }
    for (auto& thread : threads) thread.join();
  }
  EXPECT_EQ(source.deleted, 1);
}

}  // namespace
}  // namespace deploy
