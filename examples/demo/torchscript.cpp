#include "torchscript.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/serialization/import.h>

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "deploy/torch.h"

namespace {

void add_tensors(Comparison& comparison, const c10::IValue& output) {
  if (output.isTensor()) {
    const at::Tensor tensor = output.toTensor().contiguous();
    comparison.add(tensor.const_data_ptr(), tensor.nbytes());
  } else if (output.isTuple()) {
    for (const c10::IValue& item : output.toTupleRef().elements()) add_tensors(comparison, item);
  }
}

torch::jit::Module load(const std::string& path) {
  try {
    torch::jit::Module module = torch::jit::load(path, c10::kCPU);
    module.eval();
    return module;
  } catch (const c10::Error& error) {
    throw std::runtime_error(path + ": " + error.what_without_backtrace());
  }
}

}  // namespace

std::function<bool()> torchscript_call(const std::string& path, const deploy::Kwargs& inputs, const Reference& reference) {
  at::set_num_threads(1);
  auto module = std::make_shared<torch::jit::Module>(load(path));
  std::vector<c10::IValue> arguments;
  for (const auto& [name, value] : inputs) arguments.emplace_back(deploy::to_tensor(value));
  return [module, arguments = std::move(arguments), &reference] {
    const c10::InferenceMode guard;
    Comparison comparison(reference);
    add_tensors(comparison, module->forward(arguments));
    return comparison.equal();
  };
}
