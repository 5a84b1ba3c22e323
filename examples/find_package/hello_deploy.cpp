// Two isolated Pythons in one C++ program. It needs no Python on the machine: libdeploy brings the interpreter and its standard
// library.

#include <deploy/deploy.h>

#include <cstdio>
#include <exception>
#include <string>

int main() {
  try {
    deploy::InterpreterManager manager({.interpreters = 2, .environment = deploy::Environment::bare()});
    manager.register_module("greeting", R"(
import json, statistics

def greet(name, numbers):
    return json.dumps({"hello": name, "median": statistics.median(numbers)})
)");
    auto session = manager.acquire_session();
    const deploy::Value numbers = deploy::Value::list({3, 1, 2});
    const deploy::Value text =
        session.global("greeting", "greet")("Python " + std::string(deploy::python_version()), numbers).to_value();
    std::printf("%s\n", text.as_str().c_str());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "hello_deploy: %s\n", error.what());
    return 1;
  }
}
