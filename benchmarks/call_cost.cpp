// What a call costs from C++: to an identity model with one small tensor in and out, and to parts of it. For each line on stdin it
// takes one round and prints one line of figures in microseconds, so that call_cost.py can take its rounds in turn with plain
// Python's.

#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "deploy/deploy.h"

namespace {

constexpr int kCalls = 100'000;

template <class F>
double microseconds_a_call(F call) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kCalls; ++i) call();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() / kCalls;
}

std::string read(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void run(const char* venv, const char* model_source) {
  deploy::ManagerOptions options{1, deploy::Environment::from_venv(venv)};
  options.environment.preload = {"torch"};
  deploy::InterpreterManager manager(options);
  manager.register_module("identity_model", read(model_source));

  auto make = [&] {
    auto session = manager.acquire_session();
    return session.replicate(session.global("identity_model", "make")());
  };
  const deploy::ReplicatedObject model = make();
  const deploy::Tensor x = deploy::Tensor::empty({4});
  for (int i = 0; i < 4; ++i) x.data_as<float>()[i] = 1;

  for (std::string line; std::getline(std::cin, line) && !line.empty();) {
    const double call = microseconds_a_call([&] { model(x); });
    const double session_only = microseconds_a_call([&] { manager.acquire_session(); });
    auto session = manager.acquire_session();
    const deploy::Object object = session.from_replicated(model);
    const double in_session = microseconds_a_call([&] { object(x).to_value(); });
    const double inside = session.global("identity_model", "microseconds_a_call")(kCalls).to_value().as_float();
    std::printf("{\"call\": %.4f, \"session\": %.4f, \"in_session\": %.4f, \"inside\": %.4f}\n", call, session_only, in_session,
                inside);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: bench_call_cost VENV MODEL_SOURCE < one line a round\n");
    return 2;
  }
  try {
    run(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_call_cost: %s\n", error.what());
    return 1;
  }
}
