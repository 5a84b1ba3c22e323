// What hosts write with the public headers. Compiled by tests/cpp/headers/CMakeLists.txt, and never run.

#include <deploy/deploy.h>

#include <concepts>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace deploy;

// A host passes a manager, an interpreter or a session on as a const reference.
Value through_const(const InterpreterManager& manager, const ReplicatedObject& model) {
  const Interpreter interpreter = manager.interpreters()[0];
  interpreter.register_module("m", "x = 1");
  manager.register_module("n", "x = 2");
  const InterpreterSession of_interpreter = manager.interpreters()[0].acquire_session();
  const InterpreterSession of_manager = manager.acquire_session();
  const InterpreterSession of_model = model.with_timeout(std::chrono::milliseconds(200)).acquire_session();
  const Package package = manager.load_package("model.pt", {.in_memory = true});
  const Object object = of_manager.global("torch", "sigmoid");
  const ReplicatedObject everywhere = of_manager.replicate(of_manager.import_module("m"));
  return of_model.from_replicated(everywhere).call({of_model.from_value(1), object.attr("x")}, {{"k", 2}}).to_value();
}

// Each way to call, with each kind of argument.
void calls(const Object& object, const ReplicatedObject& model, const Tensor& tensor, std::string text) {
  object();
  object(1, 2.5, "text", tensor, object, nullptr, true);
  object({tensor, 1});
  object.call({});
  object.call({1}, {{"mask", tensor}});
  object.call_method("eval");
  object.call_method("eval", {});
  object.call_method("eval", {1, text});
  object.call_method("eval", {}, {{"mask", tensor}});
  model();
  model(tensor, 1);
  model({tensor});
  model.call({tensor}, {{"mask", tensor}});
  model.call_method("generate", {tensor}, {{"max_new_tokens", 8}});
}

// Each type of argument that C++ has for Python's.
void values(std::vector<Value> items) {
  const Value all = Value::list({nullptr, true, 1, 2u, std::int64_t{3}, 1.5f, std::complex<double>(1, 2), "utf8", std::string("s"),
                                 std::string_view("v"), Value::bytes("b"), Value::tuple(items), Value::dict({{"k", items[0]}}),
                                 Tensor::empty({2, 3}, DType::int64())});
  const Value copy = all;
  static_cast<void>(copy.at(0).is_none() || copy.at(12).at("k").repr().empty());
}

static_assert(std::constructible_from<Value, Object> && std::constructible_from<Value, Tensor>);
static_assert(std::copyable<Value> && std::copyable<Object> && std::copyable<Tensor> && std::copyable<Package>);
static_assert(std::copyable<Interpreter> && std::copyable<ReplicatedObject> && std::copyable<Environment>);
static_assert(std::movable<InterpreterManager> && std::movable<InterpreterSession>);
static_assert(!std::copy_constructible<InterpreterManager> && !std::copy_constructible<InterpreterSession>);
static_assert(std::is_nothrow_move_constructible_v<Value> && std::is_nothrow_move_assignable_v<Value>);
static_assert(std::is_base_of_v<std::exception, Error>);

}  // namespace

// They are used, and so need no warning about unused functions.
void uses(const InterpreterManager& manager, const ReplicatedObject& model, const Object& object, const Tensor& tensor);
void uses(const InterpreterManager& manager, const ReplicatedObject& model, const Object& object, const Tensor& tensor) {
  calls(object, model, tensor, "text");
  values({through_const(manager, model)});
}
