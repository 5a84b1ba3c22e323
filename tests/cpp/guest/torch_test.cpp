#include <gmock/gmock.h>

#include <thread>

#include "tests/cpp/guest/guest_test.h"

namespace deploy::guest {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class TorchTest : public GuestTest {
 protected:
  static void SetUpTestSuite() { with_packages(); }
  void SetUp() override {
    GuestTest::SetUp();
    run("import warnings\nwarnings.simplefilter('ignore')\nimport torch");
  }
  float data_[6] = {0, 1, 2, 3, 4, 5};
  deploy_value tensor(TensorSpec spec = {.shape = {2, 3}}) {
    if (!spec.data) spec.data = data_;
    return Values::tensor(new_tensor(std::move(spec)));
  }
};

TEST_F(TorchTest, ATensorIsATorchTensorOverTheSameMemory) {
  run("def f(t):\n  t[1, 2] = 9\n  return [str(type(t)), str(t.dtype), t.shape, t.requires_grad]");
  EXPECT_EQ(called("f", {tensor()}), "['<class 'torch.Tensor'>', 'torch.float32', (2, 3), False]");
  EXPECT_EQ(data_[5], 9);
  EXPECT_EQ(deleted(), 1);
}

// What the host says of a tensor comes before what the interpreter has.
TEST_F(TorchTest, ATensorThatIsMarkedForNumpyIsAnArray) {
  const auto marked = [&](TensorSpec spec, deploy_library library) {
    if (!spec.data) spec.data = data_;
    return Values::tensor(new_tensor(std::move(spec)), library);
  };
  run("def kind(x): return type(x).__module__ + '.' + type(x).__name__\n"
      "def write(x):\n  x[0] = 7\n  return kind(x)");
  EXPECT_EQ(called("write", {marked({.shape = {2}}, DEPLOY_NUMPY)}), "'numpy.ndarray'");
  EXPECT_EQ(data_[0], 7);
  EXPECT_EQ(called("kind", {marked({.shape = {2}}, DEPLOY_TORCH)}), "'torch.Tensor'");
  EXPECT_EQ(called("kind", {marked({.shape = {2}}, DEPLOY_ANY_LIBRARY)}), "'torch.Tensor'");
  // What numpy cannot hold, and what torch cannot.
  EXPECT_EQ(called("kind", {marked({.shape = {2}, .dtype = {kDLBfloat, 16, 1}}, DEPLOY_NUMPY)}), "'torch.Tensor'");
  EXPECT_EQ(called("lambda x: x.tolist()", {marked({.shape = {2}, .strides = {-1}, .byte_offset = 4}, DEPLOY_NUMPY)}),
            "[1.0, 7.0]");
  EXPECT_EQ(called("lambda x: [kind(y) for y in x]",
                   {values.list({marked({.shape = {2}}, DEPLOY_NUMPY), marked({.shape = {2}}, DEPLOY_TORCH)})}),
            "['numpy.ndarray', 'torch.Tensor']");
}

TEST_F(TorchTest, TheHostHearsWhichLibraryATensorIsOf) {
  Ref tensors = eval("[torch.zeros(2), __import__('numpy').zeros(2), torch.nn.Parameter(torch.zeros(2))]");
  Recorder recorder;
  ASSERT_EQ(to_value(handle(tensors.get()), &recorder, &report), 0) << report.message;
  EXPECT_EQ(recorder.libraries, (std::vector<std::uint32_t>{DEPLOY_TORCH, DEPLOY_NUMPY, DEPLOY_TORCH}));
}

TEST_F(TorchTest, AHostThatTakesObjectsGetsTensorsWithoutMemoryAsObjects) {
  takes_objects = true;
  EXPECT_EQ(told("[torch.eye(2).to_sparse(), torch.empty(2, device='meta'), 1]"), "[<torch.Tensor>, <torch.Tensor>, 1]");
}

TEST_F(TorchTest, EveryElementTypeGoesInAndComesBack) {
  const std::pair<DLDataType, const char*> types[] = {{{kDLBool, 8, 1}, "bool"},
                                                      {{kDLInt, 8, 1}, "int8"},
                                                      {{kDLInt, 16, 1}, "int16"},
                                                      {{kDLInt, 32, 1}, "int32"},
                                                      {{kDLInt, 64, 1}, "int64"},
                                                      {{kDLUInt, 8, 1}, "uint8"},
                                                      {{kDLUInt, 16, 1}, "uint16"},
                                                      {{kDLUInt, 32, 1}, "uint32"},
                                                      {{kDLUInt, 64, 1}, "uint64"},
                                                      {{kDLFloat, 16, 1}, "float16"},
                                                      {{kDLFloat, 32, 1}, "float32"},
                                                      {{kDLFloat, 64, 1}, "float64"},
                                                      {{kDLBfloat, 16, 1}, "bfloat16"},
                                                      {{kDLComplex, 32, 1}, "complex32"},
                                                      {{kDLComplex, 64, 1}, "complex64"},
                                                      {{kDLComplex, 128, 1}, "complex128"},
                                                      {{kDLFloat8_e4m3fn, 8, 1}, "float8_e4m3fn"},
                                                      {{kDLFloat8_e4m3fnuz, 8, 1}, "float8_e4m3fnuz"},
                                                      {{kDLFloat8_e5m2, 8, 1}, "float8_e5m2"},
                                                      {{kDLFloat8_e5m2fnuz, 8, 1}, "float8_e5m2fnuz"},
                                                      {{kDLFloat8_e8m0fnu, 8, 1}, "float8_e8m0fnu"}};
  alignas(16) char memory[32] = {};
  Ref identity = eval("lambda t: (t, str(t.dtype))");
  for (const auto& [dtype, name] : types) {
    deploy_value argument = tensor({.shape = {2}, .dtype = dtype, .data = memory});
    Recorder recorder;
    report = Report();
    ASSERT_EQ(call_value(handle(identity.get()), {nullptr, 0}, &argument, 1, nullptr, 0, &recorder, &report), 0)
        << name << report.message;
    EXPECT_THAT(recorder.text, HasSubstr("torch." + std::string(name) + "'"));
    const DLTensor& back = recorder.tensors.at(0)->dl_tensor;
    EXPECT_EQ(back.data, memory);
    EXPECT_EQ(back.dtype.code, dtype.code) << name;
    EXPECT_EQ(back.dtype.bits, dtype.bits) << name;
  }
}

TEST_F(TorchTest, StridedZeroSizedAndZeroDimensionalTensorsGoInAndComeBack) {
  EXPECT_EQ(called("lambda t: t.tolist()", {tensor({.shape = {3, 2}, .strides = {1, 3}})}), "[[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]");
  EXPECT_EQ(called("lambda t: t.tolist()", {tensor({.shape = {2}, .byte_offset = 8})}), "[2.0, 3.0]");
  EXPECT_EQ(called("lambda t: (t, t.shape)", {Values::tensor(new_tensor({.shape = {0, 3}}))}), "(tensor(float32[0, 3]), (0, 3))");
  EXPECT_EQ(called("lambda t: (t, t.item())", {tensor({.byte_offset = 4})}), "(tensor(float32[]), 1.0)");
  EXPECT_EQ(told("torch.arange(12.).reshape(3, 4).t()[1:, ::2]"), "tensor(float32[3, 2])");
}

TEST_F(TorchTest, AReadOnlyTensorIsCopiedSoThatItCannotBeWritten) {
  EXPECT_EQ(called("lambda t: t.add_(1).tolist()", {tensor({.shape = {2}, .flags = DLPACK_FLAG_BITMASK_READ_ONLY})}), "[1.0, 2.0]");
  EXPECT_EQ(data_[0], 0);
  EXPECT_EQ(deleted(), 1);
}

TEST_F(TorchTest, WhatTorchCannotHoldIsRefusedAndGivenBackOnce) {
  EXPECT_THAT(called("str", {tensor({.shape = {1}, .dtype = {kDLFloat, 32, 4}})}),
              StartsWith("torch cannot take the argument <_deploy.Tensor of dtype(2, 32, 4), shape (1,), device (1, 0)>: "));
  EXPECT_EQ(report.error_code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(deleted(), 1);
  EXPECT_THAT(called("str", {tensor({.shape = {2}, .device = {kDLOpenCL, 0}})}), StartsWith("torch cannot take the argument"));
  EXPECT_EQ(deleted(), 2);
  EXPECT_EQ(called("str", {tensor({.shape = {3}, .strides = {-1}, .byte_offset = 8})}),
            "torch cannot take a tensor argument with a negative stride; pass a contiguous copy of it");
  EXPECT_EQ(report.error_code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(deleted(), 3);
}

TEST_F(TorchTest, ATensorOfAGpuThatIsNotThereIsRefused) {
  EXPECT_THAT(called("str", {tensor({.shape = {2}, .device = {kDLCUDA, 63}})}), StartsWith("torch cannot take the argument"));
  EXPECT_EQ(report.error_code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(deleted(), 1);
}

TEST_F(TorchTest, AnInputLivesAsLongAsTorchHoldsItAndDiesOnAnyThread) {
  run("kept = []");
  EXPECT_EQ(called("lambda t: kept.append(t.view(6))", {tensor()}), "None");
  EXPECT_EQ(deleted(), 0);
  Recorder recorder;
  Ref kept = eval("kept[0]");
  ASSERT_EQ(to_value(handle(kept.get()), &recorder, &report), 0);
  kept = Ref();
  run("kept.clear()");
  EXPECT_EQ(deleted(), 0);
  PyThreadState* state = PyEval_SaveThread();
  std::thread([&] {
    PyGILState_STATE attached = PyGILState_Ensure();
    recorder.tensors.at(0)->deleter(recorder.tensors.at(0));
    PyGILState_Release(attached);
  }).join();
  PyEval_RestoreThread(state);
  recorder.tensors.clear();
  EXPECT_EQ(deleted(), 1);
}

TEST_F(TorchTest, ATensorThatRequiresGradReachesTheHostWithoutItsGraph) {
  run("import weakref\n"
      "class Saved: pass\n"
      "class Double(torch.autograd.Function):\n"
      "  @staticmethod\n"
      "  def forward(ctx, x):\n"
      "    global seen\n"
      "    ctx.saved = Saved()\n"
      "    seen = weakref.ref(ctx.saved)\n"
      "    return x * 2\n"
      "def f(): return Double.apply(torch.ones(3, requires_grad=True)), torch.nn.Parameter(torch.zeros(2))");
  Ref function = eval("f");
  Recorder recorder;
  ASSERT_EQ(call_value(handle(function.get()), {nullptr, 0}, nullptr, 0, nullptr, 0, &recorder, &report), 0) << report.message;
  EXPECT_EQ(recorder.text, "(tensor(float32[3]), tensor(float32[2]))");
  EXPECT_EQ(static_cast<float*>(recorder.tensors.at(0)->dl_tensor.data)[1], 2);
  EXPECT_EQ(told("seen() is None"), "True");
}

TEST_F(TorchTest, OutputsOfInferenceModeReachTheHost) {
  run("@torch.inference_mode()\ndef f(t): return t * 2");
  EXPECT_EQ(called("f", {tensor()}), "tensor(float32[2, 3])");
}

TEST_F(TorchTest, ConjugatedAndNegatedViewsAreResolved) {
  run("z = torch.tensor([1+2j, 3+4j])");
  for (const auto& [expression, real, imaginary] :
       {std::tuple{"z.conj()", 1.0f, -2.0f}, {"torch._neg_view(z)", -1.0f, -2.0f}, {"torch._neg_view(z.conj())", -1.0f, 2.0f}}) {
    Ref object = eval(expression);
    Recorder recorder;
    ASSERT_EQ(to_value(handle(object.get()), &recorder, &report), 0) << report.message;
    const auto* data = static_cast<const float*>(recorder.tensors.at(0)->dl_tensor.data);
    EXPECT_EQ(data[0], real) << expression;
    EXPECT_EQ(data[1], imaginary) << expression;
  }
  Ref part = eval("z.conj().imag");
  Recorder recorder;
  ASSERT_EQ(to_value(handle(part.get()), &recorder, &report), 0) << report.message;
  EXPECT_EQ(static_cast<const float*>(recorder.tensors.at(0)->dl_tensor.data)[0], -2.0f);
}

TEST_F(TorchTest, WhatHasNoStridedMemoryIsNoValueAndTheMessageSaysWhy) {
  const std::string start = "result['x'] is a torch.Tensor that DLPack cannot describe: ";
  EXPECT_EQ(called("lambda: {'x': torch.zeros(2).to_sparse()}"),
            start + "its layout is torch.sparse_coo; return tensor.to_dense()");
  EXPECT_EQ(report.error_code, ErrorCode::kNotAValue);
  EXPECT_EQ(called("lambda: {'x': torch.zeros(2, 2).to_sparse_csr()}"),
            start + "its layout is torch.sparse_csr; return tensor.to_dense()");
  EXPECT_EQ(called("lambda: {'x': torch.zeros(2).to_mkldnn()}"), start + "its layout is torch._mkldnn; return tensor.to_dense()");
  EXPECT_EQ(called("lambda: {'x': torch.quantize_per_tensor(torch.zeros(3), 0.1, 1, torch.quint8)}"),
            start + "it is quantized (torch.quint8); return tensor.dequantize()");
  EXPECT_EQ(called("lambda: {'x': torch.zeros(2, device='meta')}"), start + "it is on the meta device and has no data");
  EXPECT_EQ(called("lambda: {'x': torch.nested.nested_tensor([torch.zeros(2)])}"), start + "it is nested; return its parts");
  EXPECT_THAT(called("lambda: torch.nn.parameter.UninitializedParameter()"),
              HasSubstr("DLPack cannot describe: ValueError: Attempted to use an uninitialized parameter"));
  run("from torch._subclasses import FakeTensorMode");
  EXPECT_THAT(called("lambda: FakeTensorMode().from_tensor(torch.zeros(2))"), HasSubstr("it has no memory behind it"));
}

TEST_F(TorchTest, ThingsThatAreNotTensorsKeepTheirTypesName) {
  EXPECT_EQ(told("torch.zeros(2, 3).shape"), "(2, 3)");
  EXPECT_THAT(told("{'d': torch.float32}"), StartsWith("object['d'] is a torch.dtype, which is no value"));
  EXPECT_THAT(told("torch.nn.Linear(1, 1)"), StartsWith("object is a torch.nn.modules.linear.Linear, which is no value"));
}

TEST_F(TorchTest, AnErrorInsideTorchIsReportedWithItsTraceback) {
  EXPECT_THAT(called("lambda t: t @ t", {tensor()}),
              StartsWith("RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"));
  EXPECT_THAT(report.traceback, StartsWith("Traceback (most recent call last):\n"));
}

TEST_F(TorchTest, ATensorSubclassOfTheModelsOwnIsATensor) {
  run("class Mine(torch.Tensor): pass\nm = torch.zeros(2).as_subclass(Mine)");
  EXPECT_EQ(told("[m, m]"), "[tensor(float32[2]), tensor(float32[2])]");
}

}  // namespace
}  // namespace deploy::guest
