#include <cstring>
#include <stdexcept>

#include "activities.h"

namespace {

constexpr const char* kFunctions[] = {"fail", "spin", "fork_inside", "broken_pipe", "shared_lists", "excess", "children", "echo"};

// Module `soak` of every interpreter: what goes wrong in a model, and what must not reach the host.
constexpr const char* kSource = R"(
import os, socket, subprocess, sys, threading


class Odd(Exception):
    pass


def fail(kind):
    if kind == "exit":
        sys.exit(3)
    raise {"value": ValueError, "odd": Odd, "memory": MemoryError}[kind]("as asked")


def spin():
    while True:
        pass


def echo(value):
    return value


def fork_inside():
    child = os.fork()
    if child == 0:
        threading.current_thread()
        os._exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def children():
    return subprocess.run(["/bin/sh", "-c", "echo hello; exit 4"], capture_output=True).returncode


def broken_pipe():
    a, b = socket.socketpair()
    b.shutdown(socket.SHUT_RD)  # for a child that another thread of the host forks here, which has b too until it ends
    b.close()
    try:
        a.send(b"x")
    except BrokenPipeError:
        return "BrokenPipeError"
    finally:
        a.close()


def shared_lists():
    value = []
    for _ in range(40):
        value = [value, value]
    return value


def excess():
    try:
        bytearray(1 << 45)
    except MemoryError:
        return "MemoryError"
)";

deploy::ManagerOptions options(const std::string& venv) {
  deploy::ManagerOptions options{2, deploy::Environment::from_venv(venv)};
  options.environment.preload = {"torch"};
  return options;
}

// In memory of the host's own, so that nothing of the interpreter is held.
deploy::Tensor copy(const deploy::Tensor& tensor) {
  auto* bytes = new std::byte[tensor.nbytes()];
  std::memcpy(bytes, tensor.data(), tensor.nbytes());
  return deploy::Tensor::from_blob(bytes, {tensor.shape().begin(), tensor.shape().end()}, tensor.dtype(),
                                   [bytes] { delete[] bytes; });
}

void collect(const deploy::Value& value, std::vector<std::string>& all) {
  using Kind = deploy::Value::Kind;
  if (value.is_tensor()) {
    const deploy::Tensor& tensor = value.as_tensor();
    if (!tensor.is_contiguous()) throw std::runtime_error("a model of the soak gave a tensor that is not contiguous");
    all.emplace_back(static_cast<const char*>(tensor.data()), tensor.nbytes());
  } else if (value.kind() == Kind::kList || value.kind() == Kind::kTuple) {
    for (const deploy::Value& item : value.items()) collect(item, all);
  } else if (value.kind() == Kind::kDict) {
    for (const auto& [key, item] : value.dict_items()) collect(item, all);
  }
}

}  // namespace

std::vector<std::string> tensor_bytes(const deploy::Value& value) {
  std::vector<std::string> all;
  collect(value, all);
  return all;
}

Server::Server(const Settings& settings) : settings_(settings), manager_(options(settings.venv)) {
  manager_.register_module("soak", kSource);
  for (deploy::Interpreter interpreter : manager_.interpreters()) {
    deploy::InterpreterSession session = interpreter.acquire_session();
    session.global("torch", "set_num_threads")(1);  // the figures are for one core an interpreter
  }
  for (const char* name : kFunctions) {
    deploy::InterpreterSession session = manager_.acquire_session();
    functions_.emplace_back(name, session.replicate(session.global("soak", name)));
  }
  for (const std::string& path : settings.models) {
    deploy::Package package = manager_.load_package(path);
    Model model{package, package.load_pickle("model", "model.pkl"), {}, {}};
    {
      deploy::InterpreterSession session = manager_.acquire_session();
      const deploy::Value inputs = session.from_replicated(package.load_pickle("model", "inputs.pkl")).to_value();
      for (const auto& [name, value] : inputs.dict_items()) model.inputs.emplace_back(name.as_str(), copy(value.as_tensor()));
    }
    model.object.preload();
    model.expected = tensor_bytes(model.object.call({}, model.inputs));
    models_.push_back(std::move(model));
  }
}

const deploy::ReplicatedObject& Server::function(const std::string& name) const {
  for (const auto& [known, function] : functions_) {
    if (known == name) return function;
  }
  throw std::logic_error("module soak has no " + name);
}
