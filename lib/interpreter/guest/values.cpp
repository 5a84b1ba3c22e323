// Values from the host to Python; walk.cpp is the way back.

#include "lib/interpreter/guest/values.h"

#include "lib/interpreter/guest/errors.h"
#include "lib/interpreter/guest/tensors.h"

namespace deploy::guest {
namespace {

Ref convert(const deploy_value& value, int depth, deploy_error* error);

// For CPython's own constructors, which fail only for want of memory.
Ref checked(PyObject* object, deploy_error* error) {
  if (!object) report_exception(error);
  return Ref(object);
}

Ref convert_str(deploy_text utf8, deploy_error* error) {
  Ref str(PyUnicode_DecodeUTF8(utf8.data, static_cast<Py_ssize_t>(utf8.size), "strict"));
  if (str) return str;
  Ref exception = take_exception();
  if (!PyErr_GivenExceptionMatches(exception.get(), PyExc_UnicodeDecodeError)) {
    report_exception(error, exception);
    return Ref();
  }
  Ref reason = summary(exception);
  report(error, ErrorCode::kInvalidArgument, "a str among the arguments is not UTF-8 (%S); pass bytes instead", reason.get());
  return Ref();
}

Ref convert_sequence(const deploy_value& value, int depth, deploy_error* error) {
  const auto& [items, size] = value.as.sequence;
  const bool is_list = value.kind == DEPLOY_LIST;
  Ref result = checked(is_list ? PyList_New(static_cast<Py_ssize_t>(size)) : PyTuple_New(static_cast<Py_ssize_t>(size)), error);
  if (!result) {
    discard(items, size);
    return Ref();
  }
  for (size_t i = 0; i < size; ++i) {
    Ref item = convert(items[i], depth + 1, error);
    if (!item) {
      discard(items + i + 1, size - i - 1);
      return Ref();
    }
    if (is_list) {
      PyList_SET_ITEM(result.get(), static_cast<Py_ssize_t>(i), item.release());
    } else {
      PyTuple_SET_ITEM(result.get(), static_cast<Py_ssize_t>(i), item.release());
    }
  }
  return result;
}

// Adds one pair. The tensors of both are taken in any case.
bool add_pair(PyObject* dict, const deploy_value* pair, int depth, deploy_error* error) {
  Ref key = convert(pair[0], depth + 1, error);
  if (!key) {
    discard(pair + 1, 1);
    return false;
  }
  Ref item = convert(pair[1], depth + 1, error);
  if (!item) return false;
  if (PyDict_SetItem(dict, key.get(), item.get()) == 0) return true;
  Ref exception = take_exception();
  if (PyErr_GivenExceptionMatches(exception.get(), PyExc_TypeError)) {
    Ref reason = summary(exception);
    report(error, ErrorCode::kInvalidArgument, "a dict among the arguments has a key that Python cannot hash (%S)", reason.get());
  } else {
    report_exception(error, exception);
  }
  return false;
}

Ref convert_dict(const deploy_value& value, int depth, deploy_error* error) {
  const auto& [items, size] = value.as.sequence;
  Ref dict = checked(PyDict_New(), error);
  if (!dict) {
    discard(items, size);
    return Ref();
  }
  for (size_t i = 0; i + 1 < size; i += 2) {
    if (!add_pair(dict.get(), items + i, depth, error)) {
      discard(items + i + 2, size - i - 2);
      return Ref();
    }
  }
  return dict;
}

Ref convert(const deploy_value& value, int depth, deploy_error* error) {
  if (depth > kMaxDepth) {
    discard(&value, 1);
    report(error, ErrorCode::kInvalidArgument, "an argument is nested more than %d levels deep", kMaxDepth);
    return Ref();
  }
  switch (value.kind) {
    case DEPLOY_NONE:
      return Ref::of(Py_None);
    case DEPLOY_BOOL:
      return Ref::of(value.as.integer ? Py_True : Py_False);
    case DEPLOY_INT:
      return checked(PyLong_FromLongLong(value.as.integer), error);
    case DEPLOY_FLOAT:
      return checked(PyFloat_FromDouble(value.as.real), error);
    case DEPLOY_COMPLEX:
      return checked(PyComplex_FromDoubles(value.as.complex_parts[0], value.as.complex_parts[1]), error);
    case DEPLOY_STR:
      return convert_str(value.as.text, error);
    case DEPLOY_BYTES:
      return checked(PyBytes_FromStringAndSize(value.as.text.data, static_cast<Py_ssize_t>(value.as.text.size)), error);
    case DEPLOY_LIST:
    case DEPLOY_TUPLE:
      return convert_sequence(value, depth, error);
    case DEPLOY_DICT:
      return convert_dict(value, depth, error);
    case DEPLOY_TENSOR:
      return import_tensor(value.as.tensor, error);
    case DEPLOY_OBJECT:
      return Ref::of(borrowed(value.as.object));
  }
  report(error, ErrorCode::kInternal, "the host passed a value of the unknown kind %u", static_cast<unsigned>(value.kind));
  return Ref();
}

}  // namespace

void discard(const deploy_value* values, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const deploy_value& value = values[i];
    if (value.kind == DEPLOY_TENSOR) {
      drop_managed(value.as.tensor);
    } else if (value.kind == DEPLOY_LIST || value.kind == DEPLOY_TUPLE || value.kind == DEPLOY_DICT) {
      discard(value.as.sequence.items, value.as.sequence.size);
    }
  }
}

Ref to_python(const deploy_value& value, deploy_error* error) { return convert(value, 0, error); }

deploy_object from_value(const deploy_value* value, deploy_error* error) { return handed_over(to_python(*value, error).release()); }

int to_value(deploy_object object, deploy_sink* sink, deploy_error* error) {
  return walk(borrowed(object), "object", sink, error) ? 0 : -1;
}

}  // namespace deploy::guest
