// PyTorch in two interpreters of one process, beside the host's own libtorch.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "deploy/interpreter.h"
#include "deploy/torch.h"

namespace deploy {
namespace {

using testing::HasSubstr;

constexpr const char* kSource = R"(
import torch

def backward(seed):
    torch.manual_seed(seed)
    x = torch.rand(64, 64, requires_grad=True)
    (x @ x).sin().sum().backward()
    return x.detach(), x.grad

def add_one_in_place(x):
    return x.add_(1)

def with_grad():
    return torch.ones(2, requires_grad=True) * 2

def bad_shapes(x):
    return x @ torch.ones(7)

def define_op(name):
    library = torch.library.Library(name, 'DEF')
    library.define('twice(Tensor x) -> Tensor')
    library.impl('twice', lambda x: x * 2, 'CPU')
    globals()['library'] = library

def call_op(name, x):
    return getattr(torch.ops, name).twice(x)
)";

class TorchInterpretersTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const Environment environment{.site_packages = {DEPLOY_TEST_SITE_PACKAGES}, .preload = {"torch"}};
    interpreters_ = new std::vector<Interpreter>;
    for (int i = 0; i < 2; ++i) {
      interpreters_->emplace_back(environment);
      interpreters_->back().register_module("model", kSource);
    }
  }
  static void TearDownTestSuite() { delete std::exchange(interpreters_, nullptr); }

  static Value call(int interpreter, std::string_view function, std::vector<Value> args = {}) {
    return (*interpreters_)[interpreter].acquire_session().global("model", function)(std::move(args)).to_value();
  }
  static std::vector<Interpreter>& interpreters() { return *interpreters_; }

 private:
  static inline std::vector<Interpreter>* interpreters_ = nullptr;
};

TEST_F(TorchInterpretersTest, HostTensorsGoInAndComeOutWithoutACopy) {
  at::Tensor x = at::arange(4, at::kFloat);
  const at::Tensor y = to_tensor(call(0, "add_one_in_place", {from_tensor(x)}));
  EXPECT_EQ(y.data_ptr(), x.data_ptr());
  EXPECT_EQ(x[3].item<float>(), 4.0f);
}

TEST_F(TorchInterpretersTest, TensorMovedBetweenInterpretersSharesItsStorage) {
  const Value first = call(0, "add_one_in_place", {from_tensor(at::zeros({3}))});
  const Value second = call(1, "add_one_in_place", {first});
  EXPECT_EQ(first.as_tensor().data(), second.as_tensor().data());
  EXPECT_EQ(to_tensor(first)[0].item<float>(), 2.0f);
}

TEST_F(TorchInterpretersTest, ResultThatRequiresGradComesDetached) {
  const at::Tensor result = to_tensor(call(0, "with_grad"));
  EXPECT_FALSE(result.requires_grad());
  EXPECT_EQ(result[0].item<float>(), 2.0f);
}

TEST_F(TorchInterpretersTest, BackwardRunsInTwoInterpretersAtOnce) {
  std::vector<at::Tensor> gradients(2);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < 20; ++j) gradients[i] = to_tensor(call(i, "backward", {7}).at(std::size_t{1}));
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(at::equal(gradients[0], gradients[1]));
  EXPECT_GT(gradients[0].abs().sum().item<float>(), 0);
}

TEST_F(TorchInterpretersTest, ErrorThrownInLibtorchBecomesAPythonError) {
  try {
    call(0, "bad_shapes", {from_tensor(at::ones({3, 3}))});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.python_type(), "RuntimeError");
    EXPECT_THAT(error.traceback(), HasSubstr("return x @ torch.ones(7)"));
  }
  EXPECT_EQ(to_tensor(call(0, "with_grad"))[1].item<float>(), 2.0f);
}

TEST_F(TorchInterpretersTest, OperatorsOfTheSameNameAreDefinedInBoth) {
  for (int i = 0; i < 2; ++i) {
    call(i, "define_op", {"deploy_test"});
    EXPECT_EQ(to_tensor(call(i, "call_op", {"deploy_test", from_tensor(at::ones({1}))}))[0].item<float>(), 2.0f);
  }
}

TEST_F(TorchInterpretersTest, DistributedImportsAndMetadataGivesTheRealVersion) {
  for (Interpreter& interpreter : interpreters()) {
    auto session = interpreter.acquire_session();
    EXPECT_NO_THROW(session.import_module("torch.distributed"));
    EXPECT_EQ(session.global("importlib.metadata", "version")("torch").to_value().as_str(),
              session.global("torch", "__version__").str());
  }
}

}  // namespace
}  // namespace deploy
