// Packages of models, in two interpreters with torch.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/cpp/pool/pool_testing.h"

namespace deploy {
namespace {

using testing::package_path;

class TorchPackageTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    Environment environment = testing::venv();
    environment.preload = {"torch"};
    manager_ = std::make_unique<InterpreterManager>(ManagerOptions{.interpreters = 2, .environment = environment});
  }
  static void TearDownTestSuite() { manager_.reset(); }

  static ReplicatedObject model(const std::string& package) {
    return manager_->load_package(package_path(package)).load_pickle("model", "model.pkl");
  }
  static Value example(const std::string& package) {
    return manager_->load_package(package_path(package)).load_pickle("model", "example.pkl").call_method("copy");
  }

  static std::unique_ptr<InterpreterManager> manager_;
};

std::unique_ptr<InterpreterManager> TorchPackageTest::manager_;

Tensor ones(std::vector<std::int64_t> shape) {
  Tensor tensor = Tensor::empty(std::move(shape));
  std::fill_n(tensor.data_as<float>(), tensor.numel(), 1.0f);
  return tensor;
}

bool equal(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && std::ranges::equal(a.shape(), b.shape()) && a.is_contiguous() && b.is_contiguous() &&
         std::memcmp(a.data(), b.data(), a.nbytes()) == 0;
}

// Memory of its own that the mapping at `address` has, in KiB; -1 where there is none.
long anonymous_kib(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t first = 0, last = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &first, &last) == 2) found = first <= wanted && wanted < last;
    if (found && line.starts_with("Anonymous:")) return std::stol(line.substr(10));
  }
  return -1;
}

TEST_F(TorchPackageTest, AModelGivesTheOutputsItWasPackagedWith) {
  const Value data = example("simple.pt");
  const ReplicatedObject simple = model("simple.pt");
  for (Interpreter interpreter : manager_->interpreters()) {
    InterpreterSession session = interpreter.acquire_session();
    const Value output = session.from_replicated(simple)(data.at("inputs")).to_value();
    EXPECT_TRUE(equal(output.as_tensor(), data.at("outputs").as_tensor()));
  }
  const Value scaled = simple.call_method("scaled", {data.at("inputs")}, {{"factor", 2.0}});
  EXPECT_EQ(scaled.at("factor").as_float(), 2.0);
}

TEST_F(TorchPackageTest, ManyThreadsCallOneModel) {
  const Value data = example("simple.pt");
  const ReplicatedObject simple = model("simple.pt");
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 101; ++i) EXPECT_TRUE(equal(simple(data.at("inputs")).as_tensor(), data.at("outputs").as_tensor()));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(TorchPackageTest, AnFxGraphModuleRuns) {
  const Value data = example("simple.pt");
  const ReplicatedObject graph = model("fx.pt");
  graph.preload();
  EXPECT_TRUE(equal(graph(data.at("inputs")).as_tensor(), data.at("outputs").as_tensor()));
}

TEST_F(TorchPackageTest, ATorchScriptModuleHeldByAPythonModuleRuns) {
  const Value data = example("torchscript.pt");
  const ReplicatedObject holder = model("torchscript.pt");
  for (Interpreter interpreter : manager_->interpreters()) {
    InterpreterSession session = interpreter.acquire_session();
    EXPECT_TRUE(equal(session.from_replicated(holder)(data.at("inputs")).to_value().as_tensor(), data.at("outputs").as_tensor()));
  }
}

TEST_F(TorchPackageTest, WeightsArePagesOfTheFileInEveryInterpreter) {
  const ReplicatedObject big = model("big.pt");
  const Tensor input = ones({4096, 1});
  std::vector<Tensor> weights;
  for (Interpreter interpreter : manager_->interpreters()) {
    InterpreterSession session = interpreter.acquire_session();
    Object object = session.from_replicated(big);
    object(input);
    weights.push_back(object.attr("weight").to_value().as_tensor());
    EXPECT_EQ(anonymous_kib(weights.back().data()), 0);
  }
  EXPECT_NE(weights[0].data(), weights[1].data());
  EXPECT_TRUE(equal(weights[0], weights[1]));
  // The first write costs the pages that it touches, in one interpreter.
  *weights[0].data_as<float>() += 1;
  EXPECT_GT(anonymous_kib(weights[0].data()), 0);
  EXPECT_LE(anonymous_kib(weights[0].data()), 64);
  EXPECT_EQ(anonymous_kib(weights[1].data()), 0);
}

TEST_F(TorchPackageTest, InPlaceWritesStayInTheirInterpreter) {
  const ReplicatedObject simple = model("simple.pt");
  simple.preload();
  InterpreterSession first = Interpreter(manager_->interpreters()[0]).acquire_session();
  InterpreterSession second = Interpreter(manager_->interpreters()[1]).acquire_session();
  const double before = second.from_replicated(simple).call_method("first").to_value().as_float();
  first.from_replicated(simple).call_method("add_", {1.0});
  EXPECT_EQ(second.from_replicated(simple).call_method("first").to_value().as_float(), before);
  EXPECT_NEAR(first.from_replicated(simple).call_method("first").to_value().as_float(), before + 1, 1e-6);
}

TEST_F(TorchPackageTest, AnObjectThatAFileWasLoadedFromMayBeRemoved) {
  const std::string path = package_path("removed.pt");
  std::ofstream(path, std::ios::binary) << std::ifstream(package_path("simple.pt"), std::ios::binary).rdbuf();
  const ReplicatedObject simple = manager_->load_package(path).load_pickle("model", "model.pkl");
  std::remove(path.c_str());
  simple.preload();
  EXPECT_EQ(simple(ones({20, 3})).as_tensor().numel(), 30);
}

TEST_F(TorchPackageTest, AReplicatedModelSharesMemoryAndWritesStayInTheirInterpreter) {
  std::optional<ReplicatedObject> copy;
  {
    const ReplicatedObject big = model("big.pt");
    InterpreterSession session = big.acquire_session();
    Object object = session.from_replicated(big);
    object.call_method("add_", {1.0});
    copy = session.replicate(object);
  }
  copy->preload();
  std::vector<Tensor> weights;
  for (Interpreter interpreter : manager_->interpreters()) {
    InterpreterSession session = interpreter.acquire_session();
    Object object = session.from_replicated(*copy);
    object(ones({4096, 1}));
    weights.push_back(object.attr("weight").to_value().as_tensor());
    EXPECT_EQ(anonymous_kib(weights.back().data()), 0);
  }
  EXPECT_TRUE(equal(weights[0], weights[1]));
  *weights[0].data_as<float>() += 1;
  EXPECT_FALSE(equal(weights[0], weights[1]));
}

// Whether gradients are recorded in a call, and whether it is in inference mode.
std::string grad_mode_of_calls(InterpreterManager& manager) {
  std::optional<ReplicatedObject> enabled, inference;
  {
    InterpreterSession session = manager.acquire_session();
    enabled = session.replicate(session.global("torch", "is_grad_enabled"));
    inference = session.replicate(session.global("torch", "is_inference_mode_enabled"));
    // What a session gets by name is plain Python.
    EXPECT_TRUE(session.global("torch", "is_grad_enabled")({}).to_value().as_bool());
    EXPECT_EQ(session.from_replicated(*enabled)({}).to_value().as_bool(), (*enabled)().as_bool());
  }
  const std::string mode = (*enabled)().as_bool() ? "enable_grad" : "no_grad";
  return (*inference)().as_bool() ? mode + ", inference_mode" : mode;
}

TEST_F(TorchPackageTest, CallsRecordNothingForGradientsUnlessTheEnvironmentSaysSo) {
  EXPECT_EQ(grad_mode_of_calls(*manager_), "no_grad");
  for (const auto& [mode, expected] : {std::pair(GradMode::kNoGrad, "no_grad"), std::pair(GradMode::kEnableGrad, "enable_grad"),
                                       std::pair(GradMode::kInferenceMode, "no_grad, inference_mode")}) {
    Environment environment = testing::venv();
    environment.grad_mode = mode;
    InterpreterManager manager({.interpreters = 1, .environment = environment});
    EXPECT_EQ(grad_mode_of_calls(manager), expected);
  }
}

TEST_F(TorchPackageTest, AFailedCallLeavesTheThreadInItsMode) {
  const ReplicatedObject simple = model("simple.pt");
  EXPECT_THROW(simple(Value("no tensor")), Error);
  InterpreterSession session = simple.acquire_session();
  EXPECT_THROW(session.from_replicated(simple)({Value("no tensor")}), Error);
  EXPECT_TRUE(session.global("torch", "is_grad_enabled")({}).to_value().as_bool());
}

TEST_F(TorchPackageTest, ACallThatNeedsGradientsSaysHowToGetThem) {
  const ReplicatedObject simple = model("simple.pt");
  InterpreterSession session = simple.acquire_session();
  Object weight = session.from_replicated(simple).attr("weight");
  try {
    weight.call_method("sum").call_method("backward");
    FAIL() << "backward() succeeded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kPython);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("does not require grad"));
    EXPECT_THAT(error.what(), ::testing::HasSubstr("the call ran as under torch.no_grad()"));
    EXPECT_THAT(error.what(), ::testing::HasSubstr("deploy.package.save(grad_mode=\"enable_grad\")"));
  }
}

TEST_F(TorchPackageTest, ATensorOutlivesItsPackageAndItsManager) {
  std::optional<Tensor> weight;
  {
    Environment environment = testing::venv();
    InterpreterManager manager({.interpreters = 1, .environment = environment});
    const ReplicatedObject simple = manager.load_package(package_path("simple.pt")).load_pickle("model", "model.pkl");
    InterpreterSession session = simple.acquire_session();
    weight = session.from_replicated(simple).attr("weight").to_value().as_tensor();
  }
  EXPECT_EQ(weight->numel(), 200);
  EXPECT_GE(*weight->data_as<float>(), 0.0f);
}

}  // namespace
}  // namespace deploy
