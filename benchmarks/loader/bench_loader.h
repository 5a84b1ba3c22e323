// Parts of bench_loader, in a shared library.
#pragma once

#include <memory>
#include <string>

#include "lib/loader/namespace.h"

#define DEPLOY_BENCH_PART __attribute__((visibility("default")))

namespace deploy::loader {

// libbench_NAME.so
std::string bench_library(const std::string& name);

// A namespace where the benchmark's own libraries, PyTorch's and the C++ run time are private, as in an interpreter.
std::unique_ptr<Namespace> bench_namespace();

// Ends the process with the failure's message.
[[noreturn]] void fail(const std::string& message);
template <class T>
T value_or_fail(Result<T> result) {
  if (!result) fail(result.failure().message);
  return std::move(*result);
}

// The parts print one JSON object on stdout each, and return the process's exit status.

// The milliseconds from dlopen to the first initialiser, for the closure of libtorch_cpu: by the system's loader, once; or in
// `count` namespaces.
DEPLOY_BENCH_PART int relocation_by_system();
DEPLOY_BENCH_PART int relocation_by_namespaces(int count);

// Nanoseconds of TLS accesses and of throws, by system and private code in turn, `rounds` times.
DEPLOY_BENCH_PART int tls_accesses(int rounds);
DEPLOY_BENCH_PART int throws(int rounds);

// Memory and mappings after loading and unloading the libraries at `paths`, `count` times.
DEPLOY_BENCH_PART int come_and_go(int count, char** paths, int size);

}  // namespace deploy::loader
