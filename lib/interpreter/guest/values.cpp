// Values from the host to Python; walk.cpp is the way back.

#include "lib/interpreter/guest/values.h"

#include "lib/interpreter/guest/errors.h"
#include "lib/interpreter/guest/stack.h"
#include "lib/interpreter/guest/tensors.h"

namespace deploy::guest {
namespace {

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

bool is_container(const deploy_value& value) {
  return value.kind == DEPLOY_LIST || value.kind == DEPLOY_TUPLE || value.kind == DEPLOY_DICT;
}

Ref convert_leaf(const deploy_value& value, deploy_error* error) {
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
    case DEPLOY_TENSOR:
      return import_tensor(value.as.tensor, value.library, error);
    case DEPLOY_OBJECT:
      return Ref::of(borrowed(value.as.object));
  }
  report(error, ErrorCode::kInternal, "the host passed a value of the unknown kind %u", static_cast<unsigned>(value.kind));
  return Ref();
}

Ref new_container(const deploy_value& value, deploy_error* error) {
  const auto size = static_cast<Py_ssize_t>(value.as.sequence.size);
  if (value.kind == DEPLOY_DICT) return checked(PyDict_New(), error);
  return checked(value.kind == DEPLOY_LIST ? PyList_New(size) : PyTuple_New(size), error);
}

// Makes one object after the other, depth first; the containers around the one that is made are on a stack.
class Builder {
 public:
  explicit Builder(deploy_error* error) : error_(error) {}

  Ref build(const deploy_value& root) {
    const deploy_value* next = &root;
    while (next) {
      Ref object = is_container(*next) ? new_container(*next, error_) : convert_leaf(*next, error_);
      if (!object && is_container(*next)) discard(next, 1);
      if (!object) return Ref();
      if (is_container(*next) && next->as.sequence.size != 0) {
        levels_.push({next, std::move(object)});
      } else if (!place(std::move(object))) {
        return Ref();
      }
      if (++built_ % kBreath == 0 && !breathe()) {
        report_exception(error_);
        return Ref();
      }
      next = levels_.empty() ? nullptr : &levels_.top().value->as.sequence.items[levels_.top().next++];
    }
    return std::move(whole_);
  }

  // What was left out: the tensors in it are given back.
  ~Builder() {
    for (size_t i = 0; i < levels_.size(); ++i) {
      const auto& [items, size] = levels_[i].value->as.sequence;
      discard(items + levels_[i].next, size - levels_[i].next);
    }
  }

 private:
  struct Level {
    const deploy_value* value;
    Ref container;
    size_t next = 0;  // how many of its items were begun
    Ref key = {};     // of a dict, whose value comes next
  };

  // Puts the object where it belongs. The last item completes its container, and may with it complete the one around it.
  bool place(Ref object) {
    while (!levels_.empty()) {
      Level& level = levels_.top();
      const auto index = static_cast<Py_ssize_t>(level.next - 1);
      if (level.value->kind == DEPLOY_LIST) {
        PyList_SET_ITEM(level.container.get(), index, object.release());
      } else if (level.value->kind == DEPLOY_TUPLE) {
        PyTuple_SET_ITEM(level.container.get(), index, object.release());
      } else if (index % 2 == 0) {
        level.key = std::move(object);
      } else {
        Ref key = std::move(level.key), container = Ref::of(level.container.get());
        if (!add_pair(container.get(), key.get(), object.get())) return false;
      }
      if (level.next < level.value->as.sequence.size) return true;
      object = std::move(level.container);
      levels_.pop();
    }
    whole_ = std::move(object);
    return true;
  }

  bool add_pair(PyObject* dict, PyObject* key, PyObject* item) {
    if (PyDict_SetItem(dict, key, item) == 0) return true;
    Ref exception = take_exception();
    if (PyErr_GivenExceptionMatches(exception.get(), PyExc_TypeError)) {
      Ref reason = summary(exception);
      report(error_, ErrorCode::kInvalidArgument, "a dict among the arguments has a key that Python cannot hash (%S)",
             reason.get());
    } else {
      report_exception(error_, exception);
    }
    return false;
  }

  deploy_error* const error_;
  Stack<Level> levels_;
  Ref whole_;
  size_t built_ = 0;
};

}  // namespace

void discard(const deploy_value* values, size_t count) {
  struct Rest {
    const deploy_value* values;
    size_t count;
  };
  Stack<Rest> rests;
  rests.push({values, count});
  while (!rests.empty()) {
    Rest& rest = rests.top();
    if (rest.count == 0) {
      rests.pop();
      continue;
    }
    const deploy_value& value = *rest.values++;
    --rest.count;
    if (value.kind == DEPLOY_TENSOR) drop_managed(value.as.tensor);
    if (is_container(value)) rests.push({value.as.sequence.items, value.as.sequence.size});
  }
}

Ref to_python(const deploy_value& value, deploy_error* error) {
  return is_container(value) ? Builder(error).build(value) : convert_leaf(value, error);
}

deploy_object from_value(const deploy_value* value, deploy_error* error) { return handed_over(to_python(*value, error).release()); }

int to_value(deploy_object object, deploy_sink* sink, deploy_error* error) {
  return walk(borrowed(object), "object", sink, error) ? 0 : -1;
}

}  // namespace deploy::guest
