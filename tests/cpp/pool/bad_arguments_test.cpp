// Each function of the public API, with each kind of text that is no name, no path and no source: it takes the text or throws
// deploy::Error, never anything else, and the next call works. tests/py/test_bad_arguments.py is the counterpart of the bindings.

#include <limits>
#include <string>
#include <vector>

#include "pool_testing.h"

namespace deploy {
namespace {

using testing::error_of;
using testing::package_path;

struct Live {
  InterpreterManager manager{ManagerOptions{.interpreters = 1}};
  Interpreter interpreter;
  Package package = manager.load_package(package_path("resources.pt"));
  InterpreterSession session = manager.acquire_session();
  Object echo = session.global("builtins", "dict");
  ReplicatedObject replicated = session.replicate(session.global("operator", "length_hint"));
};

const std::vector<std::string>& bad_texts() {
  static const std::vector<std::string> texts = {
      "",
      std::string("a\0b", 3),
      std::string(1, '\0'),
      "\xff\xfe",
      "\xed\xa0\x80",  // a surrogate
      "caf\xc3",       // cut in a character
      std::string(100'000, 'x'),
      std::string(5'000, '/'),
      std::string(5'000, '.'),
      "../../etc/passwd",
      "a..b",
      ".a",
      "a b\n\x1b[31m",
      "import os\nx = (",
      "1",
      "None",
      "%s%n%d{}",
  };
  return texts;
}

struct Function {
  const char* name;
  void (*call)(Live&, const std::string&);
};

// NOLINTBEGIN: a table
const Function kFunctions[] = {
    {"global module", [](Live& live, const std::string& text) { live.session.global(text, "x"); }},
    {"global name", [](Live& live, const std::string& text) { live.session.global("builtins", text); }},
    {"import_module", [](Live& live, const std::string& text) { live.session.import_module(text); }},
    {"from_value", [](Live& live, const std::string& text) { live.session.from_value(text); }},
    {"from_value bytes", [](Live& live, const std::string& text) { live.session.from_value(Value::bytes(text)); }},
    {"from_value key", [](Live& live, const std::string& text) { live.session.from_value(Value::dict({{text, 1}})); }},
    {"attr", [](Live& live, const std::string& text) { live.echo.attr(text); }},
    {"hasattr", [](Live& live, const std::string& text) { live.echo.hasattr(text); }},
    {"call_method", [](Live& live, const std::string& text) { live.echo.call_method(text); }},
    {"call", [](Live& live, const std::string& text) { live.echo({text}); }},
    {"keyword", [](Live& live, const std::string& text) { live.echo.call({}, {{text, 1}}); }},
    {"keyword twice", [](Live& live, const std::string& text) { live.echo.call({}, {{text, 1}, {text, 2}}); }},
    {"replicated call", [](Live& live, const std::string& text) { live.replicated(text); }},
    {"replicated method", [](Live& live, const std::string& text) { live.replicated.call_method(text); }},
    {"register_module name", [](Live& live, const std::string& text) { live.interpreter.register_module(text, ""); }},
    {"register_module source", [](Live& live, const std::string& text) { live.interpreter.register_module("bad_source", text); }},
    {"load_package", [](Live& live, const std::string& text) { live.manager.load_package(text); }},
    {"load_package sha256",
     [](Live& live, const std::string& text) { live.manager.load_package(package_path("resources.pt"), {.sha256 = text}); }},
    {"load_package key",
     [](Live& live, const std::string& text) {
       live.manager.load_package(package_path("resources.pt"), {.trusted_keys = {text}});
     }},
    {"load_pickle package", [](Live& live, const std::string& text) { live.package.load_pickle(text, "model.pkl"); }},
    {"load_pickle resource", [](Live& live, const std::string& text) { live.package.load_pickle("model", text); }},
    {"load_text", [](Live& live, const std::string& text) { live.package.load_text(text, text); }},
    {"load_binary", [](Live& live, const std::string& text) { live.package.load_binary(text, text); }},
    {"PackageReader", [](Live&, const std::string& text) { PackageReader{text}; }},
    {"from_venv", [](Live&, const std::string& text) { Environment::from_venv(text); }},
    {"site_packages", [](Live&, const std::string& text) { Interpreter{Environment{.site_packages = {text}}}; }},
    {"extra_paths", [](Live&, const std::string& text) { Interpreter{Environment{.extra_paths = {text}}}; }},
    {"preload", [](Live&, const std::string& text) { Interpreter{Environment{.preload = {text}}}; }},
    {"private_libraries", [](Live&, const std::string& text) { Interpreter{Environment{.private_libraries = {text}}}; }},
    {"shared_libraries", [](Live&, const std::string& text) { Interpreter{Environment{.shared_libraries = {text}}}; }},
    {"allowed_externs", [](Live&, const std::string& text) { Interpreter{Environment{.allowed_externs = {{text}}}}; }},
};
// NOLINTEND

TEST(BadArguments, AreTakenOrRefusedAndCostNothing) {
  Live live;
  for (const Function& function : kFunctions) {
    for (const std::string& text : bad_texts()) {
      SCOPED_TRACE(std::string(function.name) + " of " + Value(text).repr().substr(0, 60));
      try {
        function.call(live, text);
      } catch (const Error& error) {
        EXPECT_NE(error.code(), ErrorCode::kInternal) << error.what();
        EXPECT_FALSE(error.message().empty());
      } catch (const std::exception& error) {
        ADD_FAILURE() << "another exception than deploy::Error: " << error.what();
      }
      EXPECT_EQ(live.echo.call({}, {{"a", 1}}).to_value().repr(), R"({"a": 1})");
      EXPECT_EQ(live.replicated(Value::list({1, 2})).as_int(), 2);
    }
  }
}

TEST(BadArguments, EmptyHandlesAreNamed) {
  Live live;
  for (const auto& call : std::vector<std::function<void()>>{
           [] { Object()(); },
           [] { Object().attr("x"); },
           [] { Object().to_value(); },
           [&] { live.echo(Object()); },
           [&] { live.echo(Tensor()); },
           [&] { live.session.replicate(Object()); },
           [] { Tensor().shape(); },
           [] { Tensor().to_dlpack(); },
           [] { Tensor().numel(); },
       }) {
    EXPECT_EQ(error_of(call).code(), ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(live.echo().to_value().size(), 0u);
}

TEST(BadArguments, NumbersOutsideTheirRangeAreNamed) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  for (const auto& shape :
       std::vector<std::vector<std::int64_t>>{{-1}, {kMost}, {kMost, 2}, {1 << 30, 1 << 30, 1 << 30}, {0, -1}}) {
    EXPECT_NE(error_of([&] { Tensor::empty(shape); }).code(), ErrorCode::kInternal);
  }
  for (const std::size_t interpreters : {std::size_t{0}, std::size_t{65'537}, std::numeric_limits<std::size_t>::max()}) {
    const Error error = error_of([&] { InterpreterManager({.interpreters = interpreters}); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.message(), ::testing::HasSubstr("at most 65536; " + std::to_string(interpreters) + " were asked for"));
  }
  Interpreter interpreter{Environment{}};
  auto session = interpreter.acquire_session();
  session.set_timeout(std::chrono::nanoseconds::min());
  EXPECT_EQ(error_of([&] { session.global("math", "pi"); }).code(), ErrorCode::kDeadlineExceeded);
  session.set_timeout(std::chrono::nanoseconds::max());
  EXPECT_GT(session.global("math", "pi").to_value().as_float(), 3);
}

}  // namespace
}  // namespace deploy
