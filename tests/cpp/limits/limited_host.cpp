// A host under a limit of the system's: RESOURCE (as, nofile, nproc) is lowered to VALUE, then an interpreter of SITE_PACKAGES (or
// none) imports MODULES, starts threads and computes. Prints the outcome in one line; the status is 0 where all worked or the
// failure is one that a host can expect of a system that refuses, 1 where it is another one.

#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <string>

#include "deploy/interpreter.h"

namespace {

constexpr const char* kWork = R"(
import threading
def work(modules):
    for name in modules:
        __import__(name)
    found = []
    threads = [threading.Thread(target=found.append, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(found) + len(bytearray(1 << 22)) - (1 << 22)
)";

// What Python and its packages raise where the system gives nothing; torch and numpy put it into words of their own.
bool is_expected(const deploy::Error& error) {
  if (error.code() == deploy::ErrorCode::kSystem) return true;
  if (error.code() != deploy::ErrorCode::kPython) return false;
  for (const char* type : {"MemoryError", "OSError", "ImportError", "RuntimeError", "BlockingIOError", "SystemError"}) {
    if (error.python_type() == type) return true;
  }
  return false;
}

int run(const std::string& site_packages, deploy::Value modules) {
  deploy::Environment environment;
  if (!site_packages.empty()) environment.site_packages = {site_packages};
  deploy::Interpreter interpreter(environment);
  interpreter.register_module("limited", kWork);
  auto session = interpreter.acquire_session();
  return static_cast<int>(session.global("limited", "work")({std::move(modules)}).to_value().as_int());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: limited_host RESOURCE VALUE SITE_PACKAGES [MODULE ...]\n");
    return 2;
  }
  const std::map<std::string, __rlimit_resource> resources = {
      {"as", RLIMIT_AS}, {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC}};
  std::vector<deploy::Value> modules;
  for (int i = 4; i < argc; ++i) modules.emplace_back(argv[i]);
  const rlimit limit{std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[2], nullptr, 10)};
  if (::setrlimit(resources.at(argv[1]), &limit) != 0) return 2;
  try {
    const int threads = run(argv[3], deploy::Value::list(std::move(modules)));
    std::printf("success %d\n", threads);
    return threads == 3 ? 0 : 1;
  } catch (const deploy::Error& error) {
    std::printf("%s %s: %.300s\n", std::string(deploy::to_string(error.code())).c_str(), error.python_type().c_str(), error.what());
    return is_expected(error) ? 0 : 1;
  } catch (const std::exception& error) {
    std::printf("another exception: %s\n", error.what());
    return 1;
  }
}
