#include "lib/interpreter/guest/errors.h"
#include "lib/interpreter/guest/names.h"
#include "lib/interpreter/guest/tensor_object.h"
#include "lib/interpreter/guest/tensors.h"
#include "lib/interpreter/guest/types.h"
#include "lib/interpreter/guest/values.h"

namespace deploy::guest {
namespace {

// The arguments of one call, as vectorcall wants them: [free slot][self][positional...][keyword values...]. The free slot is what
// PY_VECTORCALL_ARGUMENTS_OFFSET promises the callee. Few arguments need no allocation.
class Arguments {
 public:
  ~Arguments() {
    for (size_t i = 0; i < filled_; ++i) Py_DECREF(first()[i]);
    if (slots_ != inline_) PyMem_Free(slots_);
  }

  // False: reported. Takes the tensors of all arguments in either case.
  bool fill(const deploy_value* values, size_t count, deploy_error* error) {
    if (count + kReserved > kInline && !(slots_ = static_cast<PyObject**>(PyMem_Malloc((count + kReserved) * sizeof(PyObject*))))) {
      slots_ = inline_;
      discard(values, count);
      PyErr_NoMemory();
      report_exception(error);
      return false;
    }
    for (; filled_ < count; ++filled_) {
      Ref argument = to_python(values[filled_], error);
      if (!argument) {
        discard(values + filled_ + 1, count - filled_ - 1);
        return false;
      }
      first()[filled_] = argument.release();
    }
    return true;
  }

  PyObject** first() { return slots_ + kReserved; }
  // With `self` (borrowed) as the first of them.
  PyObject** with_self(PyObject* self) {
    slots_[1] = self;
    return slots_ + 1;
  }

 private:
  static constexpr size_t kReserved = 2;
  static constexpr size_t kInline = 16;

  PyObject* inline_[kInline];
  PyObject** slots_ = inline_;
  size_t filled_ = 0;
};

Ref known_name(deploy_text utf8, const char* what, deploy_error* error) {
  Ref name = name_from(utf8);
  if (name) return name;
  Ref exception = take_exception();
  report(error, ErrorCode::kInvalidArgument, "the name of %s is not UTF-8 (%S)", what, summary(exception).get());
  return Ref();
}

// The tuple of keyword names; none for no keywords. False: reported.
bool keyword_names(const deploy_text* keywords, size_t count, Ref& names, deploy_error* error) {
  if (!count) return true;
  names = Ref(PyTuple_New(static_cast<Py_ssize_t>(count)));
  if (!names) return report_exception(error), false;
  for (size_t i = 0; i < count; ++i) {
    Ref name = known_name(keywords[i], "a keyword argument", error);
    if (!name) return false;
    for (size_t j = 0; j < i; ++j) {
      if (PyUnicode_Compare(PyTuple_GET_ITEM(names.get(), static_cast<Py_ssize_t>(j)), name.get()) == 0) {
        report(error, ErrorCode::kInvalidArgument, "the keyword argument '%U' is given twice", name.get());
        return false;
      }
    }
    PyTuple_SET_ITEM(names.get(), static_cast<Py_ssize_t>(i), name.release());
  }
  return true;
}

Ref invoke(deploy_object object, deploy_text method, const deploy_value* values, size_t count, const deploy_text* keywords,
           size_t keyword_count, deploy_error* error) {
  Ref names, method_name;
  bool ready = keyword_count <= count;
  if (!ready) report(error, ErrorCode::kInternal, "a call has %zu keyword names for %zu arguments", keyword_count, count);
  ready = ready && keyword_names(keywords, keyword_count, names, error);
  if (ready && method.data) ready = static_cast<bool>(method_name = known_name(method, "a method", error));
  if (!ready) {
    discard(values, count);
    return Ref();
  }
  Arguments arguments;
  if (!arguments.fill(values, count, error)) return Ref();
  const size_t positional = count - keyword_count;
  Ref result(method_name ? PyObject_VectorcallMethod(method_name.get(), arguments.with_self(borrowed(object)),
                                                     (positional + 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, names.get())
                         : PyObject_Vectorcall(borrowed(object), arguments.first(), positional | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                               names.get()));
  if (!result) report_exception(error);
  return result;
}

int tell(Ref str, deploy_sink* sink, deploy_error* error) {
  if (!str) return report_exception(error), -1;
  sink->on_str(sink, text(Utf8(str.get()).view()));
  return 0;
}

}  // namespace

bool prepare() { return prepare_tensor_type() && prepare_export() && prepare_interrupts(); }

void drop() {
  drop_interrupts();
  drop_libraries();
  drop_grad_mode();
  drop_export();
  drop_types();
  drop_names();
  drop_tensor_type();
}

deploy_object attr(deploy_object object, deploy_text name, deploy_error* error) {
  Ref attribute_name = known_name(name, "an attribute", error);
  if (!attribute_name) return nullptr;
  Ref attribute(PyObject_GetAttr(borrowed(object), attribute_name.get()));
  if (!attribute) report_exception(error);
  return handed_over(attribute.release());
}

int hasattr(deploy_object object, deploy_text name, deploy_error* error) {
  Ref attribute_name = known_name(name, "an attribute", error);
  if (!attribute_name) return -1;
  Ref attribute(PyObject_GetAttr(borrowed(object), attribute_name.get()));
  if (attribute) return 1;
  if (PyErr_ExceptionMatches(PyExc_AttributeError)) return PyErr_Clear(), 0;
  return report_exception(error), -1;
}

void release(deploy_object object) { Py_XDECREF(borrowed(object)); }

deploy_object call(deploy_object object, deploy_text method, const deploy_value* arguments, size_t count,
                   const deploy_text* keywords, size_t keyword_count, deploy_error* error) {
  return handed_over(invoke(object, method, arguments, count, keywords, keyword_count, error).release());
}

int call_value(deploy_object object, deploy_text method, const deploy_value* arguments, size_t count, const deploy_text* keywords,
               size_t keyword_count, deploy_sink* sink, deploy_error* error) {
  Ref result = invoke(object, method, arguments, count, keywords, keyword_count, error);
  return result && walk(result.get(), "result", sink, error) ? 0 : -1;
}

int type_name(deploy_object object, deploy_sink* sink, deploy_error* error) {
  return tell(qualified_name(Py_TYPE(borrowed(object))), sink, error);
}

int str(deploy_object object, deploy_sink* sink, deploy_error* error) {
  return tell(Ref(PyObject_Str(borrowed(object))), sink, error);
}

}  // namespace deploy::guest
