#pragma once

#include <Python.h>
#include <dlpack/dlpack.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "deploy/error.h"
#include "lib/interpreter/guest/guest.h"

namespace deploy::guest {

// Keeps what deploy_value trees point to.
class Values {
 public:
  static deploy_value none();
  static deploy_value boolean(bool value);
  static deploy_value integer(std::int64_t value);
  static deploy_value real(double value);
  static deploy_value complex(double real, double imaginary);
  static deploy_value str(std::string_view text);
  static deploy_value bytes(std::string_view text);
  static deploy_value object(PyObject* object);
  static deploy_value tensor(DLManagedTensorVersioned* tensor, deploy_library library = DEPLOY_ANY_LIBRARY);
  deploy_value list(std::vector<deploy_value> items) { return sequence(DEPLOY_LIST, std::move(items)); }
  deploy_value tuple(std::vector<deploy_value> items) { return sequence(DEPLOY_TUPLE, std::move(items)); }
  deploy_value dict(std::vector<deploy_value> items) { return sequence(DEPLOY_DICT, std::move(items)); }

 private:
  deploy_value sequence(deploy_kind kind, std::vector<deploy_value> items);
  std::deque<std::vector<deploy_value>> kept_;
};

// What the guest reported.
struct Report : deploy_error {
  Report();
  int count = 0;
  ErrorCode error_code = {};
  std::string message, python_type, traceback;
};

// Writes down what the guest tells as Python would: {'a': [1, 2.5], 'x': tensor(float 32 [2, 3])}.
struct Recorder : deploy_sink {
  Recorder();
  ~Recorder();
  Recorder(const Recorder&) = delete;

  std::string text;
  std::vector<DLManagedTensorVersioned*> tensors;  // owned
  std::vector<std::uint32_t> libraries;            // of the tensors
  void take_objects();                             // says <type> for what has no value form

  void add(std::string_view item);
  void open(std::uint32_t kind, std::size_t size);

 private:
  struct Level {
    char close;
    std::size_t left;
    bool is_dict;
  };
  void close_full();
  std::vector<Level> levels_;
};

// A host tensor of float32 unless said otherwise. Counts its deletions in deleted().
struct TensorSpec {
  std::vector<std::int64_t> shape = {};
  DLDataType dtype = {kDLFloat, 32, 1};
  void* data = nullptr;
  std::vector<std::int64_t> strides = {};  // empty: contiguous
  std::uint64_t flags = 0;
  DLDevice device = {kDLCPU, 0};
  std::uint64_t byte_offset = 0;
};
DLManagedTensorVersioned* new_tensor(TensorSpec spec);

// One Python for the whole process, booted at the first test; its sys.path has the build environment's packages where
// with_packages() was called before.
class GuestTest : public testing::Test {
 protected:
  static void with_packages();
  void SetUp() override;
  void TearDown() override;

  // How often a deleter of new_tensor() has been called in this test.
  static int deleted();

  // Runs statements in the test's own globals; an expression's value there. Both fail the test on an exception.
  void run(const char* code);
  Ref eval(const char* expression);
  deploy_object handle(PyObject* object) { return handed_over(object); }

  // What the host takes, from the next walk on: see deploy_sink.
  std::size_t max_depth = 1000, max_items = 1'000'000, max_bytes = 100'000'000;
  static constexpr std::size_t kItemBytes = 40;
  bool takes_objects = false;  // whether told() is for a host that does

  // Says what the object that `expression` makes is to the host, or the error's message.
  std::string told(const char* expression);
  // Calls what `expression` gives, and says the result in the same way.
  std::string called(const char* expression, std::vector<deploy_value> arguments = {}, std::vector<std::string_view> keywords = {},
                     std::string_view method = {});

  Report report;
  Values values;

 private:
  void limit(Recorder& recorder) const;

  PyObject* globals_ = nullptr;
};

inline deploy_text text_of(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace deploy::guest
