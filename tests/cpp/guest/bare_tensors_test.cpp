// Tensors in an interpreter with neither torch nor numpy.
#include <gmock/gmock.h>

#include "tests/cpp/guest/guest_test.h"

namespace deploy::guest {
namespace {

using testing::HasSubstr;

class BareTensorsTest : public GuestTest {
 protected:
  float data_[6] = {0, 1, 2, 3, 4, 5};
  deploy_value tensor(TensorSpec spec = {.shape = {2, 3}}) {
    if (!spec.data) spec.data = data_;
    return Values::tensor(new_tensor(std::move(spec)));
  }
};

TEST_F(BareTensorsTest, ATensorIsAnObjectOfOurOwn) {
  EXPECT_EQ(
      called("lambda t: [str(type(t)), repr(t), t.shape, t.strides, t.dtype, t.read_only]", {tensor()}),
      "['<class '_deploy.Tensor'>', '<_deploy.Tensor of float32, shape (2, 3), device (1, 0)>', (2, 3), (3, 1), 'float32', False]");
  EXPECT_EQ(deleted(), 1);
}

TEST_F(BareTensorsTest, ATensorThatIsMarkedForNumpyIsRefusedWhereThereIsNone) {
  run("import sys\nsys.modules['numpy'] = None");
  float data[2] = {};
  const deploy_value marked = Values::tensor(new_tensor({.shape = {2}, .data = data}), DEPLOY_NUMPY);
  EXPECT_EQ(called("lambda x: 1", {marked}),
            "an argument is a numpy array, and the interpreter's environment has no numpy: install it there, or pass a tensor that "
            "is not "
            "marked for numpy (Tensor::with_library(TensorLibrary::kAny), in Python deploy.Tensor(x, library=None))");
  EXPECT_EQ(report.error_code, ErrorCode::kEnvironment);
  EXPECT_EQ(deleted(), 1);
}

TEST_F(BareTensorsTest, AMemoryviewOfItSharesTheMemory) {
  run("def f(t):\n  m = memoryview(t)\n  m[1, 2] = 9.0\n  return [m.format, m.shape, m.tolist()]");
  EXPECT_EQ(called("f", {tensor()}), "['f', (2, 3), [[0.0, 1.0, 2.0], [3.0, 4.0, 9.0]]]");
  EXPECT_EQ(data_[5], 9);
}

TEST_F(BareTensorsTest, AMemoryviewKeepsTheMemory) {
  run("kept = []");
  EXPECT_EQ(called("lambda t: kept.append(memoryview(t))", {tensor()}), "None");
  EXPECT_EQ(deleted(), 0);
  EXPECT_EQ(told("kept[0][0, 1]"), "1.0");
  run("kept.clear()");
  EXPECT_EQ(deleted(), 1);
}

TEST_F(BareTensorsTest, AStridedTensorHasAStridedBuffer) {
  EXPECT_EQ(called("lambda t: memoryview(t).tolist()", {tensor({.shape = {3, 2}, .strides = {1, 3}})}),
            "[[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]");
  EXPECT_EQ(called("bytes", {tensor({.shape = {2}, .strides = {2}})}).size(), 11u);
}

TEST_F(BareTensorsTest, AByteOffsetIsPartOfTheAddress) {
  EXPECT_EQ(called("lambda t: memoryview(t).tolist()", {tensor({.shape = {2}, .byte_offset = 8})}), "[2.0, 3.0]");
}

TEST_F(BareTensorsTest, ZeroSizedAndZeroDimensionalTensorsHaveBuffers) {
  EXPECT_EQ(called("lambda t: memoryview(t).nbytes", {Values::tensor(new_tensor({.shape = {0, 3}}))}), "0");
  EXPECT_EQ(called("lambda t: memoryview(t)[()]", {tensor({.byte_offset = 4})}), "1.0");
}

TEST_F(BareTensorsTest, AReadOnlyTensorHasAReadOnlyBuffer) {
  EXPECT_EQ(
      called("lambda t: [t.read_only, memoryview(t).readonly]", {tensor({.shape = {6}, .flags = DLPACK_FLAG_BITMASK_READ_ONLY})}),
      "[True, True]");
  run("import struct");
  EXPECT_EQ(called("lambda t: struct.pack_into('f', t, 0, 1.0)", {tensor({.shape = {6}, .flags = DLPACK_FLAG_BITMASK_READ_ONLY})}),
            "TypeError: argument must be read-write bytes-like object, not _deploy.Tensor");
}

TEST_F(BareTensorsTest, MemoryThatPythonCannotSeeHasNoBuffer) {
  EXPECT_EQ(called("memoryview", {tensor({.shape = {2}, .dtype = {kDLBfloat, 16, 1}})}),
            "BufferError: <_deploy.Tensor of bfloat16, shape (2,), device (1, 0)> has no buffer: only CPU tensors of the element "
            "types that a "
            "memoryview knows have one");
  EXPECT_THAT(called("memoryview", {tensor({.shape = {2}, .device = {kDLCUDA, 1}})}), HasSubstr("device (2, 1)> has no buffer"));
}

TEST_F(BareTensorsTest, ItComesBackOverTheSameMemory) {
  Ref identity = eval("lambda t: t");
  deploy_value argument = tensor({.shape = {2, 2}, .strides = {3, 1}, .flags = DLPACK_FLAG_BITMASK_READ_ONLY});
  {
    Recorder recorder;
    ASSERT_EQ(call_value(handle(identity.get()), {nullptr, 0}, &argument, 1, nullptr, 0, &recorder, &report), 0);
    EXPECT_EQ(recorder.text, "tensor(float32[2, 2])");
    const DLManagedTensorVersioned& back = *recorder.tensors.at(0);
    EXPECT_EQ(back.dl_tensor.data, data_);
    EXPECT_EQ(back.dl_tensor.strides[0], 3);
    EXPECT_EQ(back.flags, DLPACK_FLAG_BITMASK_READ_ONLY);
    EXPECT_EQ(deleted(), 0);
  }
  EXPECT_EQ(deleted(), 1);
}

TEST_F(BareTensorsTest, ItsDlpackProtocolServesOldAndNewConsumers) {
  EXPECT_EQ(called("lambda t: 'dltensor_versioned' in repr(t.__dlpack__(max_version=(1, 0)))", {tensor()}), "True");
  EXPECT_EQ(called("lambda t: '\"dltensor\"' in repr(t.__dlpack__())", {tensor()}), "True");
  EXPECT_EQ(called("lambda t: t.__dlpack_device__()", {tensor()}), "(1, 0)");
  EXPECT_EQ(deleted(), 3);  // capsules that nobody consumed gave their reference back
  EXPECT_EQ(called("lambda t: t.__dlpack__()", {tensor({.shape = {2}, .flags = DLPACK_FLAG_BITMASK_READ_ONLY})}),
            "BufferError: a read-only tensor needs a consumer of DLPack 1.0 or later");
  EXPECT_EQ(called("lambda t: t.__dlpack__(copy=True)", {tensor()}),
            "BufferError: _deploy.Tensor cannot copy its memory; copy the consumer's tensor");
  EXPECT_EQ(called("lambda t: t.__dlpack__(dl_device=(2, 0))", {tensor()}),
            "BufferError: _deploy.Tensor is on device (1, 0) and cannot be moved to (2, 0)");
}

TEST_F(BareTensorsTest, AnythingWithDlpackIsATensor) {
  run("class Wrapper:\n"
      "  def __init__(self, t): self.t = t\n"
      "  def __dlpack__(self, **keywords): return self.t.__dlpack__(**keywords)\n"
      "class Old(Wrapper):\n"
      "  def __dlpack__(self, stream=None): return self.t.__dlpack__()\n"
      "class Wrong(Wrapper):\n"
      "  def __dlpack__(self, **keywords): return 5\n"
      "class Unwilling(Wrapper):\n"
      "  def __dlpack__(self, **keywords): raise ValueError('not today')\n");
  EXPECT_EQ(called("Wrapper", {}, {}).substr(0, 9), "TypeError");
  EXPECT_EQ(called("lambda t: [Wrapper(t), Old(t)]", {tensor()}), "[tensor(float32[2, 3]), tensor(float32[2, 3])]");
  EXPECT_EQ(deleted(), 1);
  EXPECT_EQ(called("lambda t: {'x': Wrong(t)}", {tensor()}),
            "result['x'] is a test.Wrong that DLPack cannot describe: TypeError: __dlpack__ gave a int where a DLPack capsule was "
            "expected");
  EXPECT_EQ(report.error_code, ErrorCode::kNotAValue);
  EXPECT_EQ(called("Unwilling", {tensor()}), "result is a test.Unwilling that DLPack cannot describe: ValueError: not today");
  EXPECT_EQ(deleted(), 3);
}

TEST_F(BareTensorsTest, TensorsOfAWalkThatFailsAreGivenBack) {
  EXPECT_THAT(called("lambda t: [t, object()]", {tensor()}), HasSubstr("result[1] is a object"));
  EXPECT_EQ(deleted(), 1);
}

}  // namespace
}  // namespace deploy::guest
