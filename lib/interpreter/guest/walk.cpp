// Values from Python to the host: one depth-first walk that tells the sink what it sees (see deploy_sink).
//
// The walk runs Python code where it has to (items() of a Mapping, __dlpack__, resolve_conj), and that code may do anything to the
// very containers that are being walked. So every item is held while it is visited, sizes are read again at each step, and a
// container that is not what it was when its size was told ends the walk.

#include "lib/interpreter/guest/errors.h"
#include "lib/interpreter/guest/names.h"
#include "lib/interpreter/guest/tensors.h"
#include "lib/interpreter/guest/types.h"
#include "lib/interpreter/guest/values.h"

namespace deploy::guest {
namespace {

// A message spells this many of the innermost steps.
constexpr int kSpeltSteps = 12;

constexpr char kValueTypes[] = "None, bool, int, float, complex, str, bytes, list, tuple, dict, tensor";

struct Walker {
  deploy_sink* sink;
  deploy_error* error;

  bool visit(PyObject* object, const Place& place, int depth);

 private:
  bool visit_other(PyObject* object, const Place& place, int depth);
  bool visit_int(PyObject* object, const Place& place);
  bool visit_str(PyObject* object, const Place& place);
  bool visit_list(PyObject* list, const Place& place, int depth);
  bool visit_tuple(PyObject* tuple, const Place& place, int depth);
  bool visit_dict(PyObject* dict, const Place& place, int depth);
  bool visit_mapping(PyObject* mapping, const Place& place, int depth);
  bool visit_pair(PyObject* key, PyObject* value, const Place& place, int depth);
  bool visit_numpy_scalar(PyObject* scalar, const Place& place);
  bool visit_tensor(PyObject* tensor, const TypeInfo& info, const Place& place);

  bool raised() {
    report_exception(error);
    return false;
  }
  bool changed(const Place& place) {
    report(error, ErrorCode::kNotAValue, "%S changed its size while it was converted", spelt(place).get());
    return false;
  }
  bool no_value(PyObject* object, const Place& place);
};

bool Walker::no_value(PyObject* object, const Place& place) {
  report(error, ErrorCode::kNotAValue,
         "%S is a %S, which is no value (%s); return one of these, or use the object through a session", spelt(place).get(),
         qualified_name(Py_TYPE(object)).get(), kValueTypes);
  return false;
}

bool Walker::visit_int(PyObject* object, const Place& place) {
  int overflow = 0;
  long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
  if (!overflow) return sink->on_int(sink, value), true;
  Ref bits(PyObject_CallMethod(object, "bit_length", nullptr));
  if (!bits) return raised();
  report(error, ErrorCode::kNotAValue, "%S is an int of %S bits; a value holds ints of up to 63 bits and a sign",
         spelt(place).get(), bits.get());
  return false;
}

bool Walker::visit_str(PyObject* object, const Place& place) {
  Py_ssize_t size = 0;
  if (const char* data = PyUnicode_AsUTF8AndSize(object, &size)) {
    return sink->on_str(sink, {data, static_cast<size_t>(size)}), true;
  }
  Ref exception = take_exception();
  if (!PyErr_GivenExceptionMatches(exception.get(), PyExc_UnicodeEncodeError)) {
    report_exception(error, exception);
    return false;
  }
  report(error, ErrorCode::kNotAValue, "%S is a str that has no UTF-8 form (%S)", spelt(place).get(), summary(exception).get());
  return false;
}

bool Walker::visit_list(PyObject* list, const Place& place, int depth) {
  const Py_ssize_t size = PyList_GET_SIZE(list);
  sink->on_sequence(sink, DEPLOY_LIST, static_cast<size_t>(size));
  Place inner = {.kind = Place::Kind::kItem, .parent = &place};
  for (; inner.index < size; ++inner.index) {
    if (PyList_GET_SIZE(list) != size) return changed(place);
    Ref item = Ref::of(PyList_GET_ITEM(list, inner.index));
    if (!visit(item.get(), inner, depth + 1)) return false;
  }
  return true;
}

bool Walker::visit_tuple(PyObject* tuple, const Place& place, int depth) {
  const Py_ssize_t size = PyTuple_GET_SIZE(tuple);
  sink->on_sequence(sink, DEPLOY_TUPLE, static_cast<size_t>(size));
  Place inner = {.kind = Place::Kind::kItem, .parent = &place};
  for (; inner.index < size; ++inner.index) {
    if (!visit(PyTuple_GET_ITEM(tuple, inner.index), inner, depth + 1)) return false;
  }
  return true;
}

bool Walker::visit_pair(PyObject* key, PyObject* value, const Place& place, int depth) {
  Place inner = {.kind = Place::Kind::kKey, .parent = &place, .key = key};
  if (!visit(key, inner, depth + 1)) return false;
  inner.kind = Place::Kind::kValue;
  return visit(value, inner, depth + 1);
}

bool Walker::visit_dict(PyObject* dict, const Place& place, int depth) {
  const Py_ssize_t size = PyDict_GET_SIZE(dict);
  sink->on_sequence(sink, DEPLOY_DICT, static_cast<size_t>(size));
  Py_ssize_t position = 0, seen = 0;
  PyObject *key = nullptr, *value = nullptr;
  while (PyDict_Next(dict, &position, &key, &value)) {
    if (seen++ == size) return changed(place);
    Ref held_key = Ref::of(key), held_value = Ref::of(value);
    if (!visit_pair(key, value, place, depth)) return false;
  }
  return seen == size || changed(place);
}

// By its own items(): a subclass of dict or a Mapping says itself what is in it and in what order.
bool Walker::visit_mapping(PyObject* mapping, const Place& place, int depth) {
  Ref items(PyMapping_Items(mapping));
  if (!items) return raised();
  const Py_ssize_t size = PyList_GET_SIZE(items.get());
  sink->on_sequence(sink, DEPLOY_DICT, static_cast<size_t>(size));
  for (Py_ssize_t i = 0; i < size; ++i) {
    if (PyList_GET_SIZE(items.get()) != size) return changed(place);
    Ref pair = Ref::of(PyList_GET_ITEM(items.get(), i));
    if (!PyTuple_Check(pair.get()) || PyTuple_GET_SIZE(pair.get()) != 2) {
      report(error, ErrorCode::kNotAValue, "items() of %S gave a %S where a Mapping gives (key, value)", spelt(place).get(),
             qualified_name(Py_TYPE(pair.get())).get());
      return false;
    }
    if (!visit_pair(PyTuple_GET_ITEM(pair.get(), 0), PyTuple_GET_ITEM(pair.get(), 1), place, depth)) return false;
  }
  return true;
}

// Those with a Python counterpart. A datetime64 or a structured scalar has none; a longdouble is rounded.
bool Walker::visit_numpy_scalar(PyObject* scalar, const Place& place) {
  Ref dtype(PyObject_GetAttrString(scalar, "dtype"));
  Ref kind(dtype ? PyObject_GetAttrString(dtype.get(), "kind") : nullptr);
  if (!kind) return raised();
  const Py_UCS4 code = PyUnicode_Check(kind.get()) && PyUnicode_GetLength(kind.get()) == 1 ? PyUnicode_ReadChar(kind.get(), 0) : 0;
  if (code == 'b') {
    int truth = PyObject_IsTrue(scalar);
    return truth < 0 ? raised() : (sink->on_bool(sink, truth), true);
  }
  if (code == 'i' || code == 'u') {
    Ref integer(PyNumber_Index(scalar));
    return integer ? visit_int(integer.get(), place) : raised();
  }
  if (code == 'f') {
    Ref real(PyNumber_Float(scalar));
    return real ? (sink->on_float(sink, PyFloat_AS_DOUBLE(real.get())), true) : raised();
  }
  if (code == 'c') {
    Py_complex parts = PyComplex_AsCComplex(scalar);
    return PyErr_Occurred() ? raised() : (sink->on_complex(sink, parts.real, parts.imag), true);
  }
  return no_value(scalar, place);
}

bool Walker::visit_tensor(PyObject* tensor, const TypeInfo& info, const Place& place) {
  DLManagedTensorVersioned* managed = export_tensor(tensor, info, place, error);
  if (!managed) return false;
  sink->on_tensor(sink, managed);
  return true;
}

bool Walker::visit_other(PyObject* object, const Place& place, int depth) {
  TypeInfo info;
  if (!classify(object, info)) return raised();
  switch (info.category) {
    case Category::kUnknown:
      return no_value(object, place);
    case Category::kInt:
      return visit_int(object, place);
    case Category::kFloat:
      return sink->on_float(sink, PyFloat_AS_DOUBLE(object)), true;
    case Category::kComplex: {
      Py_complex parts = PyComplex_AsCComplex(object);
      return PyErr_Occurred() ? raised() : (sink->on_complex(sink, parts.real, parts.imag), true);
    }
    case Category::kStr:
      return visit_str(object, place);
    case Category::kBytes:
      return sink->on_bytes(sink, {PyBytes_AS_STRING(object), static_cast<size_t>(PyBytes_GET_SIZE(object))}), true;
    case Category::kByteArray:
      return sink->on_bytes(sink, {PyByteArray_AS_STRING(object), static_cast<size_t>(PyByteArray_GET_SIZE(object))}), true;
    case Category::kList:
      return visit_list(object, place, depth);
    case Category::kTuple:
      return visit_tuple(object, place, depth);
    case Category::kMapping:
      return visit_mapping(object, place, depth);
    case Category::kNumpyScalar:
      return visit_numpy_scalar(object, place);
    case Category::kTorchTensor:
    case Category::kExchange:
    case Category::kDlpack:
    case Category::kDeployTensor:
      return visit_tensor(object, info, place);
  }
  return no_value(object, place);
}

bool Walker::visit(PyObject* object, const Place& place, int depth) {
  if (depth > kMaxDepth) {
    report(error, ErrorCode::kNotAValue, "%S is nested more than %d levels deep; is a container inside itself?", spelt(place).get(),
           kMaxDepth);
    return false;
  }
  if (object == Py_None) return sink->on_none(sink), true;
  if (object == Py_True) return sink->on_bool(sink, 1), true;
  if (object == Py_False) return sink->on_bool(sink, 0), true;
  if (PyUnicode_CheckExact(object)) return visit_str(object, place);
  if (PyTuple_CheckExact(object)) return visit_tuple(object, place, depth);
  if (PyDict_CheckExact(object)) return visit_dict(object, place, depth);
  if (PyList_CheckExact(object)) return visit_list(object, place, depth);
  if (PyFloat_CheckExact(object)) return sink->on_float(sink, PyFloat_AS_DOUBLE(object)), true;
  if (PyLong_CheckExact(object)) return visit_int(object, place);
  return visit_other(object, place, depth);
}

// "[3]", "['logits']", or for a key "(key 'logits')".
Ref spelt_step(const Place& place) {
  if (place.kind == Place::Kind::kItem) return Ref(PyUnicode_FromFormat("[%zd]", place.index));
  Ref key(PyObject_Repr(place.key));
  if (!key) PyErr_Clear();
  if (!key) key = Ref(PyUnicode_FromString("..."));
  if (!key) return key;
  return Ref(PyUnicode_FromFormat(place.kind == Place::Kind::kKey ? " (key %.60U)" : "[%.60U]", key.get()));
}

}  // namespace

Ref spelt(const Place& place) {
  Ref text(PyUnicode_FromStringAndSize(nullptr, 0));
  const Place* step = &place;
  for (int count = 0; text && step->kind != Place::Kind::kRoot; step = step->parent, ++count) {
    if (count == kSpeltSteps) {
      text = Ref(PyUnicode_FromFormat("[...]%U", text.get()));
      while (step->kind != Place::Kind::kRoot) step = step->parent;
      break;
    }
    Ref part = spelt_step(*step);
    text = part ? Ref(PyUnicode_FromFormat("%U%U", part.get(), text.get())) : Ref();
  }
  if (text) text = Ref(PyUnicode_FromFormat("%s%U", step->root, text.get()));
  if (!text) PyErr_Clear();
  return text;
}

bool walk(PyObject* object, const char* root, deploy_sink* sink, deploy_error* error) {
  return Walker{sink, error}.visit(object, Place{.root = root}, 0);
}

}  // namespace deploy::guest
