// Tensors in an interpreter with numpy and without torch.
#include <gmock/gmock.h>

#include "tests/cpp/guest/guest_test.h"

namespace deploy::guest {
namespace {

using testing::HasSubstr;

class NumpyTest : public GuestTest {
 protected:
  static void SetUpTestSuite() { with_packages(); }
  void SetUp() override {
    GuestTest::SetUp();
    run("import sys\nsys.modules['torch'] = None\nimport numpy as np");
  }
  float data_[6] = {0, 1, 2, 3, 4, 5};
  deploy_value tensor(TensorSpec spec = {.shape = {2, 3}}) {
    if (!spec.data) spec.data = data_;
    return Values::tensor(new_tensor(std::move(spec)));
  }
};

TEST_F(NumpyTest, ATensorIsAnArrayOverTheSameMemory) {
  run("def f(a):\n  a[1, 2] = 9\n  return [type(a).__name__, str(a.dtype), a.shape, a.flags.writeable]");
  EXPECT_EQ(called("f", {tensor()}), "['ndarray', 'float32', (2, 3), True]");
  EXPECT_EQ(data_[5], 9);
  EXPECT_EQ(deleted(), 1);
}

TEST_F(NumpyTest, EveryElementTypeThatNumpyHasBecomesItsOwn) {
  const std::pair<DLDataType, const char*> types[] = {{{kDLBool, 8, 1}, "bool"},          {{kDLInt, 8, 1}, "int8"},
                                                      {{kDLInt, 16, 1}, "int16"},         {{kDLInt, 32, 1}, "int32"},
                                                      {{kDLInt, 64, 1}, "int64"},         {{kDLUInt, 8, 1}, "uint8"},
                                                      {{kDLUInt, 16, 1}, "uint16"},       {{kDLUInt, 32, 1}, "uint32"},
                                                      {{kDLUInt, 64, 1}, "uint64"},       {{kDLFloat, 16, 1}, "float16"},
                                                      {{kDLFloat, 32, 1}, "float32"},     {{kDLFloat, 64, 1}, "float64"},
                                                      {{kDLComplex, 64, 1}, "complex64"}, {{kDLComplex, 128, 1}, "complex128"}};
  char memory[32] = {};
  for (const auto& [dtype, name] : types) {
    EXPECT_EQ(called("lambda a: [str(a.dtype), a.dtype.num == np.dtype(str(a.dtype)).num]",
                     {tensor({.shape = {2}, .dtype = dtype, .data = memory})}),
              "['" + std::string(name) + "', True]");
  }
}

TEST_F(NumpyTest, AReadOnlyTensorIsAReadOnlyArray) {
  EXPECT_EQ(called("lambda a: a.flags.writeable", {tensor({.shape = {2}, .flags = DLPACK_FLAG_BITMASK_READ_ONLY})}), "False");
}

TEST_F(NumpyTest, StridedZeroSizedAndZeroDimensionalTensorsAreArrays) {
  EXPECT_EQ(called("lambda a: a.tolist()", {tensor({.shape = {3, 2}, .strides = {1, 3}})}), "[[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]");
  EXPECT_EQ(called("lambda a: a.tolist()", {tensor({.shape = {3}, .strides = {-1}, .byte_offset = 8})}), "[2.0, 1.0, 0.0]");
  EXPECT_EQ(called("lambda a: a.shape", {Values::tensor(new_tensor({.shape = {0, 3}}))}), "(0, 3)");
  EXPECT_EQ(called("lambda a: [a.shape, a.item()]", {tensor({.byte_offset = 4})}), "[(), 1.0]");
}

TEST_F(NumpyTest, WhatNumpyCannotHoldStaysATensorOfOurOwn) {
  EXPECT_EQ(called("lambda a: str(type(a))", {tensor({.shape = {2}, .dtype = {kDLBfloat, 16, 1}})}), "'<class '_deploy.Tensor'>'");
  EXPECT_EQ(called("lambda a: str(type(a))", {tensor({.shape = {2}, .device = {kDLCUDA, 0}})}), "'<class '_deploy.Tensor'>'");
}

TEST_F(NumpyTest, ArraysReachTheHostOverTheirOwnMemory) {
  run("a = np.arange(12, dtype=np.int16).reshape(3, 4)[:, ::2]");
  Ref array = eval("a");
  Recorder recorder;
  ASSERT_EQ(to_value(handle(array.get()), &recorder, &report), 0) << report.message;
  EXPECT_EQ(recorder.text, "tensor(int16[3, 2])");
  const DLTensor& tensor = recorder.tensors.at(0)->dl_tensor;
  EXPECT_EQ(tensor.strides[0], 4);
  EXPECT_EQ(tensor.strides[1], 2);
  EXPECT_EQ(static_cast<std::int16_t*>(tensor.data)[2], 2);
  EXPECT_EQ(told("[np.zeros(()), np.zeros((0, 2), dtype=bool)]"), "[tensor(float64[]), tensor(bool8[0, 2])]");
}

TEST_F(NumpyTest, AReadOnlyArrayIsAReadOnlyTensor) {
  run("a = np.zeros(3)\na.flags.writeable = False");
  Ref array = eval("a");
  Recorder recorder;
  ASSERT_EQ(to_value(handle(array.get()), &recorder, &report), 0) << report.message;
  EXPECT_EQ(recorder.tensors.at(0)->flags & DLPACK_FLAG_BITMASK_READ_ONLY, DLPACK_FLAG_BITMASK_READ_ONLY);
}

TEST_F(NumpyTest, TheHostHearsThatAnArrayIsNumpysOwn) {
  run("class Other:\n"
      "  def __dlpack__(self, **kwargs): return np.zeros(2).__dlpack__()\n"
      "  def __dlpack_device__(self): return (1, 0)\n");
  Ref arrays = eval("[np.zeros(2), np.matrix([[1]]), Other()]");
  Recorder recorder;
  ASSERT_EQ(to_value(handle(arrays.get()), &recorder, &report), 0) << report.message;
  EXPECT_EQ(recorder.libraries, (std::vector<std::uint32_t>{DEPLOY_NUMPY, DEPLOY_NUMPY, DEPLOY_ANY_LIBRARY}));
}

// Its memory alone would be another array.
TEST_F(NumpyTest, AMaskedArrayIsNoValueWhateverItsMask) {
  const std::string message =
      "object[0] is a numpy.ma.MaskedArray, and its mask would be lost; return array.filled(value), or array.data and "
      "numpy.ma.getmaskarray(array)";
  run("class Own(np.ma.MaskedArray): pass");
  for (const char* array : {"[np.ma.masked_array([1, 2], [0, 1])]", "[np.ma.masked_array([1, 2])]"}) {
    EXPECT_EQ(told(array).substr(0, 12), "object[0] is");
    EXPECT_THAT(told(array), HasSubstr(message.substr(message.find(", and"))));
    EXPECT_EQ(report.error_code, ErrorCode::kNotAValue);
  }
  EXPECT_THAT(told("np.array([1.0]).view(Own)"), HasSubstr("object is a test.Own, and its mask would be lost"));
  EXPECT_THAT(told("np.ma.masked"), HasSubstr("its mask would be lost"));
  takes_objects = true;
  EXPECT_THAT(told("{'x': np.ma.masked_array([1]), 'y': np.array(['a']), 'z': 1}"),
              AllOf(HasSubstr("{'x': <numpy.ma"), HasSubstr("'y': <numpy.ndarray>, 'z': 1}")));
}

TEST_F(NumpyTest, AnArrayLivesUntilTheHostsDeleterRuns) {
  run("import weakref\na = np.zeros(3)\nseen = weakref.ref(a)");
  Ref array = eval("a");
  {
    Recorder recorder;
    ASSERT_EQ(to_value(handle(array.get()), &recorder, &report), 0);
    array = Ref();
    run("del a");
    EXPECT_EQ(told("seen() is None"), "False");
  }
  EXPECT_EQ(told("seen() is None"), "True");
}

TEST_F(NumpyTest, ScalarsAreTheirPythonCounterparts) {
  EXPECT_EQ(told("[np.float32(0.5), np.float64(0.25), np.float16(2), np.int8(-3), np.uint64(7), np.bool_(True), "
                 "np.complex64(1+2j), np.str_('s')]"),
            "[0.5, 0.25, 2.0, -3, 7, True, complex(1.0, 2.0), 's']");
  EXPECT_EQ(told("np.longdouble(0.5)"), "0.5");
  EXPECT_EQ(told("np.uint64(2**64 - 1)"), "object is an int of 64 bits; a value holds ints of up to 63 bits and a sign");
  EXPECT_THAT(told("np.timedelta64(5, 'ns')"), HasSubstr("object is a numpy.timedelta64, which is no value"));
}

TEST_F(NumpyTest, ArraysThatDlpackCannotDescribeAreNoValues) {
  EXPECT_THAT(told("{'names': np.array(['a'])}"),
              AllOf(HasSubstr("object['names'] is a numpy.ndarray that DLPack cannot describe: BufferError: "),
                    HasSubstr("; return array.tolist(), or an array of numbers")));
  EXPECT_EQ(report.error_code, ErrorCode::kNotAValue);
}

}  // namespace
}  // namespace deploy::guest
