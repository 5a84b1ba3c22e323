#include <gtest/gtest.h>
#include <pthread.h>

#include <functional>
#include <optional>
#include <string>

#include "deploy/interpreter.h"

// Recursion of Python code on threads with small stacks: a result, a RecursionError, or no session; never the end of the process.

namespace deploy {
namespace {

constexpr const char* kSource = R"py(
import copy, functools, json, pickle, re, sys

def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value

def recurse(n):
    return 0 if n == 0 else 1 + recurse(n - 1)

class Chain:
    def __getattr__(self, name):
        return getattr(self, name + "x")

class Compared:
    def __lt__(self, other):
        return sorted([Compared(), Compared()])

KINDS = {
    "python": lambda: recurse(10 ** 6),
    "json": lambda: json.dumps(nested(100_000)),
    "json.loads": lambda: json.loads("[" * 100_000),
    "repr": lambda: repr(nested(100_000)),
    "pickle": lambda: pickle.dumps(nested(100_000)),
    "deepcopy": lambda: copy.deepcopy(nested(100_000)),
    "getattr": lambda: Chain().a,
    "sorted": lambda: sorted([Compared(), Compared()]),
    "compare": lambda: nested(100_000) == nested(100_000),
    "hash": lambda: hash(functools.reduce(lambda value, _: (value,), range(900), ())),
}

def ends(kind):
    try:
        KINDS[kind]()
    except RecursionError:
        return "RecursionError"
    return "result"
)py";

void on_thread_with_stack(std::size_t bytes, std::function<void()> work) {
  pthread_attr_t attributes;
  ASSERT_EQ(::pthread_attr_init(&attributes), 0);
  ASSERT_EQ(::pthread_attr_setstacksize(&attributes, bytes), 0);
  pthread_t thread;
  const auto body = [](void* argument) -> void* {
    (*static_cast<std::function<void()>*>(argument))();
    return nullptr;
  };
  ASSERT_EQ(::pthread_create(&thread, &attributes, body, &work), 0);
  ::pthread_join(thread, nullptr);
  ::pthread_attr_destroy(&attributes);
}

class StackTest : public testing::Test {
 protected:
  StackTest() { interpreter_.register_module("subject", kSource); }
  Interpreter interpreter_;
};

TEST_F(StackTest, ASessionOnASmallStackIsRefusedWithTheSizes) {
  for (const std::size_t kilobytes : {64, 128, 192, 256}) {
    std::optional<Error> caught;
    on_thread_with_stack(kilobytes << 10, [&] {
      try {
        interpreter_.acquire_session();
      } catch (const Error& error) {
        caught = error;
      }
    });
    ASSERT_TRUE(caught) << kilobytes;
    EXPECT_EQ(caught->code(), ErrorCode::kSystem);
    EXPECT_NE(caught->message().find(" of " + std::to_string(kilobytes) + "; a session needs 288 kB"), std::string::npos)
        << caught->message();
  }
  EXPECT_EQ(interpreter_.acquire_session().global("subject", "ends")("repr").to_value().as_str(), "RecursionError");
}

TEST_F(StackTest, RecursionEndsInARecursionErrorOnAnyStackThatIsLetIn) {
  for (const std::size_t kilobytes : {320, 512, 1024, 8192}) {
    for (const char* kind :
         {"python", "json", "json.loads", "repr", "pickle", "deepcopy", "getattr", "sorted", "compare", "hash"}) {
      // Each level of these takes kilobytes, in any Python.
      if (kilobytes < 8192 && (kind == std::string("getattr") || kind == std::string("sorted"))) continue;
      std::string found;
      on_thread_with_stack(kilobytes << 10, [&] {
        try {
          found = interpreter_.acquire_session().global("subject", "ends")(kind).to_value().as_str();
        } catch (const Error& error) {
          found = error.what();
        }
      });
      EXPECT_EQ(found, kind == std::string("hash") ? "result" : "RecursionError") << kind << " on " << kilobytes << " kB";
    }
  }
}

}  // namespace
}  // namespace deploy
