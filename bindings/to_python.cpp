#include <vector>

#include "bindings/values.h"
#include "deploy/error.h"

namespace deploy::bindings {

namespace {

nb::object checked(PyObject* object) {
  if (!object) throw nb::python_error();
  return nb::steal(object);
}

// A leaf, or an empty container of the right size.
nb::object begin(const Value& value) {
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
      return nb::cast(value.as_tensor());
    case Value::Kind::kObject:
      return nb::cast(value.as_object());
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

// Depth first, with the containers around the item that is made on a stack of its own.
nb::object to_python(const Value& value) {
  nb::object object = begin(value);
  if (!is_container(value)) return object;
  std::vector<Level> levels;
  levels.push_back({&value, std::move(object)});
  for (;;) {
    Level& level = levels.back();
    if (!level.is_full()) {
      const Value& item = level.next_item();
      object = begin(item);
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
