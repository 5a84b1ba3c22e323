#include "bindings/refusals.h"

#include <string_view>
#include <utility>

#include "bindings/text.h"

namespace deploy::bindings {

namespace {

constexpr std::size_t kLongestName = 60;

// Whether `object` is of a type of a module that the process has loaded. Never raises.
bool is_a(nb::handle object, const char* module, const char* type) noexcept {
  PyObject* loaded = PyDict_GetItemString(PyImport_GetModuleDict(), module);
  nb::object found = nb::steal(loaded ? PyObject_GetAttrString(loaded, type) : nullptr);
  const int result = found.is_valid() && PyType_Check(found.ptr()) ? PyObject_IsInstance(object.ptr(), found.ptr()) : 0;
  PyErr_Clear();
  return result == 1;
}

bool type_has(nb::handle object, const char* attribute) noexcept {
  return PyObject_HasAttrString(reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())), attribute) == 1;
}

// The types of the standard library and others that models take, with what stands for them.
struct Stand {
  const char *module, *type, *instead;
};
constexpr Stand kStands[] = {
    {"torch", "dtype", "pass its name, str(x).removeprefix('torch.'), and let the code inside look it up: getattr(torch, name)"},
    {"torch", "device", "pass str(x), which PyTorch takes for a device"},
    {"numpy", "dtype", "pass str(x), which numpy takes for a dtype"},
    {"torch.nn", "Module", "put it into a package (deploy.package.save), and load that"},
    {"enum", "Enum", "pass x.value or x.name"},
    {"PIL.Image", "Image", "pass numpy.asarray(x), and let the code inside make the image: PIL.Image.fromarray(array)"},
    {"pandas", "DataFrame", "pass x.to_numpy(), or x.to_dict('list')"},
    {"pandas", "Series", "pass x.to_numpy()"},
    {"pandas", "Index", "pass x.to_numpy()"},
    {"polars", "DataFrame", "pass x.to_numpy(), or x.to_dict(as_series=False)"},
    {"polars", "Series", "pass x.to_numpy()"},
    {"xarray", "DataArray", "pass x.to_numpy()"},
    {"numpy", "datetime64", "pass str(x), or x.astype('int64').item()"},
    {"numpy", "timedelta64", "pass x.astype('int64').item()"},
    {"numpy", "longdouble", "pass float(x)"},
    {"numpy", "clongdouble", "pass complex(x)"},
    {"numpy", "void", "pass x.tolist()"},
    {"datetime", "timedelta", "pass x.total_seconds()"},
    {"datetime", "date", "pass x.isoformat()"},
    {"datetime", "time", "pass x.isoformat()"},
    {"decimal", "Decimal", "pass str(x) or float(x)"},
    {"fractions", "Fraction", "pass str(x) or float(x)"},
    {"uuid", "UUID", "pass str(x)"},
    {"array", "array", "pass numpy.asarray(x), x.tolist() or x.tobytes()"},
    {"deploy", "ReplicatedObject", "use it in a session: session.from_replicated(x)"},
    {"collections.abc", "Set", "pass list(x)"},
    {"builtins", "range", "pass list(x)"},
    {"builtins", "memoryview", "pass bytes(x), or numpy.asarray(x)"},
    {"builtins", "type", "code goes inside in a package, or by register_module()"},
    {"types", "ModuleType", "code goes inside in a package, or by register_module()"},
};

}  // namespace

void refuse(nb::handle type, const char* method, std::string message) {
  nb::cpp_function_def(
      [message = std::move(message)](nb::handle, nb::args, nb::kwargs) -> nb::object { throw nb::type_error(message.c_str()); },
      nb::scope(type), nb::name(method), nb::is_method());
}

std::string attribute_name(nb::handle name) {
  std::string text = shown(name);
  if (text.size() > kLongestName) text = text.substr(0, kLongestName) + "...";
  return text;
}

nb::object text_object(const std::string& text) {
  return nb::steal(PyUnicode_DecodeFSDefaultAndSize(text.data(), static_cast<Py_ssize_t>(text.size())));
}

std::string way_out(nb::handle object) {
  for (const Stand& stand : kStands) {
    if (is_a(object, stand.module, stand.type)) return std::string("; ") + stand.instead;
  }
  if (type_has(object, "__dataclass_fields__")) {
    return "; pass dataclasses.asdict(x), or make it inside: session.global_(module, name)(...)";
  }
  if (type_has(object, "__fspath__")) return "; pass os.fspath(x)";
  if (type_has(object, "__next__")) return "; pass list(x)";
  if (PyObject_CheckBuffer(object.ptr())) return "; pass bytes(x), or numpy.asarray(x)";
  if (type_has(object, "__array__") || type_has(object, "__array_interface__")) return "; pass numpy.asarray(x)";
  if (PyCallable_Check(object.ptr())) return "; code goes inside in a package, or by register_module()";
  return "; what only the code inside has is made there, through a session: session.global_(module, name)";
}

}  // namespace deploy::bindings
