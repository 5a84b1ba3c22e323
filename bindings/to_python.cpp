#include <nanobind/stl/shared_ptr.h>

#include <vector>

#include "bindings/handles.h"
#include "bindings/tensor_elements.h"
#include "bindings/values.h"
#include "deploy/error.h"

namespace deploy::bindings {

namespace {

nb::object checked(PyObject* object) {
  if (!object) throw nb::python_error();
  return nb::steal(object);
}

using Manager = std::shared_ptr<ManagerHandle>;

// numpy.asarray; null where this process has no numpy. Immortal once it was found.
PyObject* numpy_asarray() {
  static PyObject* asarray = nullptr;
  static bool absent = false;
  if (asarray || (absent && !PyDict_GetItemString(PyImport_GetModuleDict(), "numpy"))) return asarray;
  nb::object numpy = nb::steal(PyImport_ImportModule("numpy"));
  if (numpy.is_valid()) asarray = PyObject_GetAttrString(numpy.ptr(), "asarray");
  PyErr_Clear();
  absent = asarray == nullptr;
  return asarray;
}

nb::object convert_tensor(const Tensor& tensor) {
  nb::object own = nb::cast(tensor);
  if (tensor.library() != TensorLibrary::kNumpy || tensor.device().type != 1 || !buffer_format(tensor.dtype())) return own;
  PyObject* asarray = numpy_asarray();
  return asarray ? checked(PyObject_CallOneArg(asarray, own.ptr())) : own;
}

nb::object convert_object(const Object& object, const Manager& manager) {
  nb::object result = nb::cast(object);
  if (manager && !object.has_session()) keep_with(result, nb::cast(manager));
  return result;
}

// A leaf, or an empty container of the right size.
nb::object begin(const Value& value, const Manager& manager) {
  switch (value.kind()) {
    case Value::Kind::kNone:
      return nb::none();
    case Value::Kind::kBool:
      return nb::bool_(value.as_bool());
    case Value::Kind::kInt:
      return checked(PyLong_FromLongLong(value.as_int()));
    case Value::Kind::kFloat:
      return checked(PyFloat_FromDouble(value.as_float()));
    case Value::Kind::kComplex:
      return checked(PyComplex_FromDoubles(value.as_complex().real(), value.as_complex().imag()));
    case Value::Kind::kStr:
      return checked(PyUnicode_DecodeUTF8(value.as_str().data(), static_cast<Py_ssize_t>(value.as_str().size()), nullptr));
    case Value::Kind::kBytes:
      return checked(PyBytes_FromStringAndSize(value.as_bytes().data(), static_cast<Py_ssize_t>(value.as_bytes().size())));
    case Value::Kind::kList:
      return checked(PyList_New(static_cast<Py_ssize_t>(value.size())));
    case Value::Kind::kTuple:
      return checked(PyTuple_New(static_cast<Py_ssize_t>(value.size())));
    case Value::Kind::kDict:
      return checked(PyDict_New());
    case Value::Kind::kTensor:
      return convert_tensor(value.as_tensor());
    case Value::Kind::kObject:
      return convert_object(value.as_object(), manager);
  }
  throw Error(ErrorCode::kInternal, "a Value of unknown kind");
}

bool is_container(const Value& value) { return value.kind() >= Value::Kind::kList && value.kind() <= Value::Kind::kDict; }

// A container that is being filled.
struct Level {
  const Value* value;
  nb::object container;
  std::size_t next = 0;  // index of the item that comes next; of a dict, keys and values have one each
  nb::object key = {};   // of a dict, whose value comes next

  bool is_full() const { return next == (value->kind() == Value::Kind::kDict ? 2 : 1) * value->size(); }

  const Value& next_item() const {
    if (value->kind() != Value::Kind::kDict) return value->items()[next];
    const auto& [pair_key, item] = value->dict_items()[next / 2];
    return next % 2 ? item : pair_key;
  }

  void add(nb::object object) {
    const auto index = static_cast<Py_ssize_t>(next++);
    if (value->kind() == Value::Kind::kList) {
      PyList_SET_ITEM(container.ptr(), index, object.release().ptr());
    } else if (value->kind() == Value::Kind::kTuple) {
      PyTuple_SET_ITEM(container.ptr(), index, object.release().ptr());
    } else if (index % 2 == 0) {
      key = std::move(object);
    } else if (PyDict_SetItem(container.ptr(), key.ptr(), object.ptr()) != 0) {
      throw nb::python_error();
    }
  }
};

}  // namespace

void keep_with(nb::handle object, nb::handle kept) { NB_CALL(keep_alive_py)(NB_CTX, object.ptr(), kept.ptr()); }

// Depth first, with the containers around the item that is made on a stack of its own.
nb::object to_python(const Value& value, const Manager& manager) {
  nb::object object = begin(value, manager);
  if (!is_container(value)) return object;
  std::vector<Level> levels;
  levels.push_back({&value, std::move(object)});
  for (;;) {
    Level& level = levels.back();
    if (!level.is_full()) {
      const Value& item = level.next_item();
      object = begin(item, manager);
      if (is_container(item)) {
        levels.push_back({&item, std::move(object)});
      } else {
        level.add(std::move(object));
      }
      continue;
    }
    object = std::move(level.container);
    levels.pop_back();
    if (levels.empty()) return object;
    levels.back().add(std::move(object));
  }
}

}  // namespace deploy::bindings
