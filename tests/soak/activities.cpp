#include "activities.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <thread>

using namespace std::chrono_literals;
using deploy::ErrorCode;

namespace {

[[noreturn]] void unexpected(const std::string& found, const std::string& expected) {
  throw std::runtime_error("found " + found + "; expected " + expected);
}

void expect_text(const deploy::Value& value, const std::string& expected) {
  if (value.kind() != deploy::Value::Kind::kStr || value.as_str() != expected) unexpected(value.repr(), expected);
}

void expect_int(const deploy::Value& value, std::int64_t expected) {
  if (value.kind() != deploy::Value::Kind::kInt || value.as_int() != expected) unexpected(value.repr(), std::to_string(expected));
}

template <class F>
void expect_error(ErrorCode code, F&& work) {
  const std::string expected = "the error " + std::string(to_string(code));
  std::optional<deploy::Error> caught;
  try {
    work();
  } catch (const deploy::Error& error) {
    caught = error;
  }
  if (!caught) unexpected("no error", expected);
  if (caught->code() != code) unexpected(caught->what(), expected);
}

void serve(Server& server, std::size_t number) {
  const Server::Model& model = server.models()[number % server.models().size()];
  if (tensor_bytes(model.object.call({}, model.inputs)) != model.expected) unexpected("other bytes", "those of the first call");
}

void fail(Server& server, std::size_t number) {
  constexpr const char* kinds[] = {"value", "odd", "memory", "exit"};
  expect_error(ErrorCode::kPython, [&] { server.function("fail")(kinds[number % 4]); });
}

void miss_deadline(Server& server, std::size_t) {
  expect_error(ErrorCode::kDeadlineExceeded, [&] { server.function("spin").with_timeout(20ms)(); });
}

void interrupt(Server& server, std::size_t) {
  deploy::InterpreterSession session = server.manager().acquire_session();
  const deploy::Object spin = session.global("soak", "spin");
  std::atomic<bool> over = false;
  std::thread other([&] {
    while (!over) {
      std::this_thread::sleep_for(5ms);
      session.interrupt();
    }
  });
  std::optional<deploy::Error> caught;
  try {
    spin();
  } catch (const deploy::Error& error) {
    caught = error;
  }
  over = true;
  other.join();
  if (!caught || caught->code() != ErrorCode::kCancelled) unexpected(caught ? caught->what() : "no error", "the error cancelled");
}

void load_and_unload(Server& server, std::size_t number) {
  const bool plain = number % 2 == 0;
  deploy::LoadOptions options;
  options.in_memory = number % 3 == 0;  // not the package that serve() has open: options differ, or the file does
  const deploy::Package package =
      server.manager().load_package(server.settings().packages + (plain ? "/plain.pt" : "/simple.pt"), options);
  if (plain) {
    expect_int(package.load_pickle("model", "double.pkl")(21), 42);
    return;
  }
  deploy::Value example;
  {
    deploy::InterpreterSession session = server.manager().acquire_session();
    example = session.from_replicated(package.load_pickle("model", "example.pkl")).to_value();
  }
  const deploy::Value output = package.load_pickle("model", "model.pkl")(example.at("inputs"));
  if (tensor_bytes(output) != tensor_bytes(example.at("outputs"))) unexpected("another output", "the recorded one");
}

void refuse_packages(Server& server, std::size_t number) {
  if (number % 2) {
    expect_error(ErrorCode::kNotFound, [&] { server.manager().load_package("/nowhere/model.pt"); });
  } else {
    expect_error(ErrorCode::kInvalidPackage, [&] { server.manager().load_package("/proc/self/exe"); });
  }
}

void create_and_destroy(Server& server, std::size_t number) {
  const bool torch = number % 8 == 0;
  deploy::Environment environment = torch ? deploy::Environment::from_venv(server.settings().venv) : deploy::Environment::bare();
  environment.deferred_imports = true;
  deploy::Interpreter interpreter(environment);
  deploy::InterpreterSession session = interpreter.acquire_session();
  if (torch) {
    const deploy::Value ones = session.global("torch", "ones")(3).to_value();
    if (ones.as_tensor().numel() != 3) unexpected(ones.repr(), "three ones");
  } else {
    expect_text(session.global("json", "dumps")(deploy::Value::list({1, 2})).to_value(), "[1, 2]");
  }
}

void managers(Server&, std::size_t number) {
  deploy::InterpreterManager manager({.interpreters = 1 + number % 3, .environment = deploy::Environment::bare()});
  manager.register_module("twice", "def twice(x):\n    return 2 * x\n");
  deploy::InterpreterSession session = manager.acquire_session();
  expect_int(session.global("twice", "twice")(4).to_value(), 8);
}

// The child ends as a C++ program does, with a manager that it did not make, or drops that first.
void fork_host(const std::shared_ptr<Server>& server, std::size_t number) {
  const pid_t child = ::fork();
  if (child < 0) unexpected("no child", "one");
  if (child == 0) {
    ::alarm(60);
    if (number % 2) server->~Server();  // as when a program ends: nobody uses it any more
    std::exit(7);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 7) unexpected("wait status " + std::to_string(status), "exit status 7");
}

void short_thread(Server& server, std::size_t number) {
  std::exception_ptr error;
  std::thread([&] {
    try {
      expect_int(server.function("echo")(number), static_cast<std::int64_t>(number));
    } catch (...) {
      error = std::current_exception();
    }
  }).join();
  if (error) std::rethrow_exception(error);
}

}  // namespace

std::vector<Activity> all_activities(const std::shared_ptr<Server>& server) {
  const auto with_server = [&](std::string name, void (*step)(Server&, std::size_t)) {
    return Activity{std::move(name), [server, step, number = std::size_t{0}]() mutable { step(*server, number++); }};
  };
  const auto text = [&](std::string name, std::string function, std::string expected) {
    return Activity{std::move(name), [server, function, expected] { expect_text(server->function(function)(), expected); }};
  };
  const auto number = [&](std::string name, std::string function, std::int64_t expected) {
    return Activity{std::move(name), [server, function, expected] { expect_int(server->function(function)(), expected); }};
  };
  return {
      with_server("models", serve),
      with_server("more models", serve),
      with_server("exceptions", fail),
      with_server("deadlines", miss_deadline),
      with_server("interrupts", interrupt),
      with_server("load and unload packages", load_and_unload),
      with_server("refused packages", refuse_packages),
      with_server("create and destroy interpreters", create_and_destroy),
      with_server("create and destroy managers", managers),
      with_server("short threads", short_thread),
      {"forks of the host", [server, number = std::size_t{0}]() mutable { fork_host(server, number++); }},
      number("forks inside", "fork_inside", 5),
      number("subprocesses", "children", 4),
      text("broken pipes", "broken_pipe", "BrokenPipeError"),
      text("requests beyond memory", "excess", "MemoryError"),
      {"results without end", [server] { expect_error(ErrorCode::kNotAValue, [&] { server->function("shared_lists")(); }); }},
  };
}
