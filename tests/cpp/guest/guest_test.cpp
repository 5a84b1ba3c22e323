#include "tests/cpp/guest/guest_test.h"

#include <atomic>
#include <sstream>

namespace deploy::guest {
namespace {

std::atomic<int> deletions;
bool wants_packages = false;

void boot_python() {
  PyConfig config;
  PyConfig_InitIsolatedConfig(&config);
  PyConfig_SetBytesString(&config, &config.program_name, GUEST_TEST_PYTHON);
  config.site_import = 0;
  config.write_bytecode = 0;  // the folder of _deploy is a source folder
  PyStatus status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  ASSERT_FALSE(PyStatus_Exception(status)) << status.err_msg;
  std::string code = "import importlib.util, sys\n";
  if (wants_packages) code += "sys.path += '" GUEST_TEST_SITE_PACKAGES "'.split(':')\n";
  code += "_spec = importlib.util.spec_from_file_location('_deploy', '" GUEST_TEST_DEPLOY_FOLDER
          "/__init__.py', "
          "submodule_search_locations=['" GUEST_TEST_DEPLOY_FOLDER
          "'])\n"
          "sys.modules['_deploy'] = importlib.util.module_from_spec(_spec)\n";
  ASSERT_EQ(PyRun_SimpleString(code.c_str()), 0);
  ASSERT_TRUE(prepare());
}

std::string type_text(DLDataType dtype) {
  static const char* const names[] = {"int", "uint", "float", "handle", "bfloat", "complex", "bool"};
  std::ostringstream out;
  out << (dtype.code < std::size(names) ? names[dtype.code] : "code" + std::to_string(dtype.code)) << int{dtype.bits};
  if (dtype.lanes != 1) out << "x" << dtype.lanes;
  return out.str();
}

std::string tensor_text(const DLTensor& tensor) {
  std::ostringstream out;
  out << "tensor(" << type_text(tensor.dtype) << "[";
  for (int i = 0; i < tensor.ndim; ++i) out << (i ? ", " : "") << tensor.shape[i];
  out << "])";
  return out.str();
}

std::string quoted(deploy_text text) { return "'" + std::string(text.data, text.size) + "'"; }

std::string number(double value) {
  std::ostringstream out;
  out << value;
  std::string text = out.str();
  return text.find_first_of(".en") == text.npos ? text + ".0" : text;
}

Recorder& recorder(deploy_sink* self) { return *static_cast<Recorder*>(self); }

struct HostTensor {
  DLManagedTensorVersioned managed = {};
  TensorSpec spec;
};

}  // namespace

deploy_value Values::none() { return {.kind = DEPLOY_NONE, .as = {}}; }
deploy_value Values::boolean(bool value) { return {.kind = DEPLOY_BOOL, .as = {.integer = value}}; }
deploy_value Values::integer(std::int64_t value) { return {.kind = DEPLOY_INT, .as = {.integer = value}}; }
deploy_value Values::real(double value) { return {.kind = DEPLOY_FLOAT, .as = {.real = value}}; }
deploy_value Values::complex(double real, double imaginary) {
  return {.kind = DEPLOY_COMPLEX, .as = {.complex_parts = {real, imaginary}}};
}
deploy_value Values::str(std::string_view text) { return {.kind = DEPLOY_STR, .as = {.text = text_of(text)}}; }
deploy_value Values::bytes(std::string_view text) { return {.kind = DEPLOY_BYTES, .as = {.text = text_of(text)}}; }
deploy_value Values::object(PyObject* object) { return {.kind = DEPLOY_OBJECT, .as = {.object = handed_over(object)}}; }
deploy_value Values::tensor(DLManagedTensorVersioned* tensor, deploy_library library) {
  return {.kind = DEPLOY_TENSOR, .library = library, .as = {.tensor = tensor}};
}

deploy_value Values::sequence(deploy_kind kind, std::vector<deploy_value> items) {
  const auto& kept = kept_.emplace_back(std::move(items));
  return {.kind = static_cast<std::uint32_t>(kind), .as = {.sequence = {kept.data(), kept.size()}}};
}

Report::Report() {
  deploy_error::report = [](deploy_error* self, std::int32_t code, deploy_text message, deploy_text type, deploy_text trace) {
    auto& to = *static_cast<Report*>(self);
    ++to.count;
    to.error_code = static_cast<ErrorCode>(code);
    to.message.assign(message.data, message.size);
    to.python_type.assign(type.data, type.size);
    to.traceback.assign(trace.data, trace.size);
  };
}

Recorder::Recorder() : deploy_sink() {
  max_depth = max_items = max_bytes = 1'000'000'000;
  on_none = [](deploy_sink* self) { recorder(self).add("None"); };
  on_bool = [](deploy_sink* self, int value) { recorder(self).add(value ? "True" : "False"); };
  on_int = [](deploy_sink* self, std::int64_t value) { recorder(self).add(std::to_string(value)); };
  on_float = [](deploy_sink* self, double value) { recorder(self).add(number(value)); };
  on_complex = [](deploy_sink* self, double real, double imaginary) {
    recorder(self).add("complex(" + number(real) + ", " + number(imaginary) + ")");
  };
  on_str = [](deploy_sink* self, deploy_text utf8) { recorder(self).add(quoted(utf8)); };
  on_bytes = [](deploy_sink* self, deploy_text bytes) { recorder(self).add("b" + quoted(bytes)); };
  on_sequence = [](deploy_sink* self, std::uint32_t kind, std::size_t size) { recorder(self).open(kind, size); };
  on_tensor = [](deploy_sink* self, DLManagedTensorVersioned* tensor, std::uint32_t library) {
    recorder(self).tensors.push_back(tensor);
    recorder(self).libraries.push_back(library);
    recorder(self).add(tensor_text(tensor->dl_tensor));
  };
}

void Recorder::take_objects() {
  on_object = [](deploy_sink* self, deploy_object object, deploy_text type) {
    recorder(self).add("<" + std::string(type.data, type.size) + ">");
    release(object);
  };
}

Recorder::~Recorder() {
  for (auto* tensor : tensors) tensor->deleter(tensor);
}

void Recorder::add(std::string_view item) {
  text += item;
  close_full();
}

void Recorder::open(std::uint32_t kind, std::size_t size) {
  const bool is_dict = kind == DEPLOY_DICT;
  text += is_dict ? '{' : kind == DEPLOY_LIST ? '[' : '(';
  levels_.push_back({is_dict ? '}' : kind == DEPLOY_LIST ? ']' : ')', is_dict ? 2 * size : size, is_dict});
  if (size == 0) {
    text += levels_.back().close;
    levels_.pop_back();
    close_full();
  }
}

void Recorder::close_full() {
  while (!levels_.empty()) {
    Level& level = levels_.back();
    if (--level.left) {
      text += level.is_dict && level.left % 2 ? ": " : ", ";
      return;
    }
    text += level.close;
    levels_.pop_back();
  }
}

DLManagedTensorVersioned* new_tensor(TensorSpec spec) {
  auto* tensor = new HostTensor{.spec = std::move(spec)};
  TensorSpec& kept = tensor->spec;
  if (kept.strides.empty()) {
    kept.strides.assign(kept.shape.size(), 1);
    for (std::size_t i = kept.shape.size(); i-- > 1;) kept.strides[i - 1] = kept.strides[i] * kept.shape[i];
  }
  tensor->managed.version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION};
  tensor->managed.manager_ctx = tensor;
  tensor->managed.flags = kept.flags;
  tensor->managed.deleter = [](DLManagedTensorVersioned* self) {
    ++deletions;
    delete static_cast<HostTensor*>(self->manager_ctx);
  };
  tensor->managed.dl_tensor = {.data = kept.data,
                               .device = kept.device,
                               .ndim = static_cast<std::int32_t>(kept.shape.size()),
                               .dtype = kept.dtype,
                               .shape = kept.shape.data(),
                               .strides = kept.strides.data(),
                               .byte_offset = kept.byte_offset};
  return &tensor->managed;
}

void GuestTest::with_packages() { wants_packages = true; }
int GuestTest::deleted() { return deletions; }

void GuestTest::SetUp() {
  if (!Py_IsInitialized()) {
    ASSERT_NO_FATAL_FAILURE(boot_python());
  }
  deletions = 0;
  globals_ = PyDict_New();
  PyDict_SetItemString(globals_, "__builtins__", PyEval_GetBuiltins());
  run("__name__ = 'test'");
}

void GuestTest::TearDown() {
  EXPECT_EQ(PyErr_Occurred(), nullptr);
  PyErr_Clear();
  PyDict_Clear(globals_);
  Py_CLEAR(globals_);
}

void GuestTest::run(const char* code) {
  Ref result(PyRun_String(code, Py_file_input, globals_, globals_));
  if (!result) PyErr_Print();
  ASSERT_TRUE(result) << code;
}

Ref GuestTest::eval(const char* expression) {
  Ref result(PyRun_String(expression, Py_eval_input, globals_, globals_));
  if (!result) PyErr_Print();
  EXPECT_TRUE(result) << expression;
  return result;
}

void GuestTest::limit(Recorder& recorder) const {
  recorder.max_depth = max_depth;
  recorder.max_items = max_items;
  recorder.max_bytes = max_bytes;
  recorder.item_bytes = kItemBytes;
}

std::string GuestTest::told(const char* expression) {
  Ref object = eval(expression);
  Recorder recorder;
  limit(recorder);
  if (takes_objects) recorder.take_objects();
  report = Report();
  if (!object) return "no object";
  const int status = to_value(handle(object.get()), &recorder, &report);
  EXPECT_EQ(status == 0 ? 0 : 1, report.count);
  return status == 0 ? recorder.text : report.message;
}

std::string GuestTest::called(const char* expression, std::vector<deploy_value> arguments, std::vector<std::string_view> keywords,
                              std::string_view method) {
  Ref object = eval(expression);
  Recorder recorder;
  report = Report();
  if (!object) return "no object";
  std::vector<deploy_text> names;
  for (std::string_view keyword : keywords) names.push_back(text_of(keyword));
  const deploy_text method_name = method.empty() ? deploy_text{nullptr, 0} : text_of(method);
  const int status = call_value(handle(object.get()), method_name, arguments.data(), arguments.size(), names.data(), names.size(),
                                &recorder, &report);
  EXPECT_EQ(status == 0 ? 0 : 1, report.count);
  return status == 0 ? recorder.text : report.message;
}

}  // namespace deploy::guest
