// Values from Python to the host: one depth-first walk that tells the sink what it sees (see deploy_sink).
//
// The walk runs Python code where it has to (items() of a Mapping, __dlpack__, resolve_conj), and that code may do anything to the
// very containers that are being walked. So every item is held while it is visited, sizes are read again at each step, and a
// container that is not what it was when its size was told ends the walk. The containers around the item that is visited are on a
// stack of the walk's own; how deep, how many and how large things may be is the host's to say. Time too: see breathe().
//
// What has no value form ends the walk, or is handed over as an object where the sink takes those; limits, and exceptions of Python
// code, end it in any case.

#include "lib/interpreter/guest/errors.h"
#include "lib/interpreter/guest/names.h"
#include "lib/interpreter/guest/stack.h"
#include "lib/interpreter/guest/tensors.h"
#include "lib/interpreter/guest/types.h"
#include "lib/interpreter/guest/values.h"

namespace deploy::guest {
namespace {

// A message spells this many of the innermost steps, and of a key so many characters.
constexpr std::size_t kSpeltSteps = 12;
constexpr Py_ssize_t kSpeltKey = 60;

constexpr char kValueTypes[] = "None, bool, int, float, complex, str, bytes, list, tuple, dict, tensor";

// A container that is being walked.
struct Level {
  enum class Kind { kList, kTuple, kDict, kPairs };  // kPairs: what items() of a Mapping gave, as a list

  Kind kind;
  Ref container;
  Py_ssize_t size;          // that the sink was told
  Py_ssize_t seen = 0;      // how many items, or pairs, were begun
  Py_ssize_t position = 0;  // of PyDict_Next
  Ref key = {}, item = {};  // what is visited; of a list or tuple there is no key
  bool at_key = false;

  bool has_keys() const { return kind == Kind::kDict || kind == Kind::kPairs; }
};

// Between an export and the host: keeps from it that the object has no value form. Exceptions go on.
struct Refusal : deploy_error {
  explicit Refusal(deploy_error* host) : deploy_error{&forward}, host(host) {}

  static void forward(deploy_error* self, int32_t code, deploy_text message, deploy_text type, deploy_text traceback) {
    auto& refusal = *static_cast<Refusal*>(self);
    refusal.is_no_value = code == static_cast<int32_t>(ErrorCode::kNotAValue);
    if (!refusal.is_no_value) refusal.host->report(refusal.host, code, message, type, traceback);
  }

  deploy_error* const host;
  bool is_no_value = false;
};

class Walker : public Place {
 public:
  Walker(const char* root, deploy_sink* sink, deploy_error* error)
      : Place{[](const Place& self) { return static_cast<const Walker&>(self).spelt(); }},
        root_(root),
        sink_(sink),
        error_(error),
        items_left_(sink->max_items),
        bytes_left_(sink->max_bytes) {}

  bool walk(PyObject* object);

 private:
  bool visit(PyObject* object);
  bool visit_other(PyObject* object);
  bool visit_int(PyObject* object);
  bool visit_str(PyObject* object);
  bool visit_bytes(const char* data, Py_ssize_t size);
  bool visit_mapping(PyObject* mapping);
  bool visit_dataclass(PyObject* instance);
  bool visit_numpy_scalar(PyObject* scalar);
  bool visit_tensor(PyObject* tensor, const TypeInfo& info);
  bool visit_masked_array(PyObject* array);

  bool hand_over(PyObject* object);
  Ref pairs_of(PyObject* mapping);
  bool open(Level::Kind kind, PyObject* container, Py_ssize_t size);
  bool next();
  bool next_pair(Level& level);
  bool take_bytes(std::size_t bytes);
  bool rest();

  bool raised() {
    report_exception(error_);
    return false;
  }
  bool changed();
  bool no_value(PyObject* object);
  bool too_many_items();
  Ref spelt() const { return spelt(levels_.size()); }
  Ref spelt(std::size_t steps) const;

  const char* const root_;
  deploy_sink* const sink_;
  deploy_error* const error_;
  std::size_t items_left_, bytes_left_;
  std::size_t visited_ = 0;
  Stack<Level> levels_;
};

// Gives the host a reference on what has no value form, where it takes one.
bool Walker::hand_over(PyObject* object) {
  if (!sink_->on_object) return false;
  Ref type = qualified_name(Py_TYPE(object));
  const Utf8 name(type.get());
  sink_->on_object(sink_, handed_over(Py_NewRef(object)), text(name.view()));
  return true;
}

bool Walker::no_value(PyObject* object) {
  if (hand_over(object)) return true;
  report(error_, ErrorCode::kNotAValue,
         "%S is a %S, which is no value (%s); return one of these, or use the object through a session", spelt().get(),
         qualified_name(Py_TYPE(object)).get(), kValueTypes);
  return false;
}

// Of the innermost container.
bool Walker::changed() {
  report(error_, ErrorCode::kNotAValue, "%S changed its size while it was converted", spelt(levels_.size() - 1).get());
  return false;
}

bool Walker::too_many_items() {
  report(
      error_, ErrorCode::kNotAValue,
      "%s holds more than %zu items, which is the limit (Environment::value_limits.items); it was reached at %S. A container that "
      "is in several places counts in each. Return tensors, or raise the limit",
      root_, sink_->max_items, spelt().get());
  return false;
}

bool Walker::take_bytes(std::size_t bytes) {
  if (bytes <= bytes_left_) {
    bytes_left_ -= bytes;
    return true;
  }
  report(error_, ErrorCode::kNotAValue,
         "%s takes more than %zu bytes, which is the limit (Environment::value_limits.bytes); it was reached at %S. Return large "
         "data as tensors, or raise the limit",
         root_, sink_->max_bytes, spelt().get());
  return false;
}

// `size`: items of a list or tuple, pairs of the others.
bool Walker::open(Level::Kind kind, PyObject* container, Py_ssize_t size) {
  const bool has_keys = kind == Level::Kind::kDict || kind == Level::Kind::kPairs;
  const auto pairs_or_items = static_cast<std::size_t>(size);
  const std::size_t items = has_keys ? 2 * pairs_or_items : pairs_or_items;
  if (levels_.size() >= sink_->max_depth) {
    report(error_, ErrorCode::kNotAValue,
           "%S is more than %zu levels deep, which is the limit (Environment::value_limits.depth); is a container inside itself?",
           spelt().get(), sink_->max_depth);
    return false;
  }
  if (items > items_left_) return too_many_items();
  items_left_ -= items;
  if (!take_bytes(items * sink_->item_bytes)) return false;
  const deploy_kind kinds[] = {DEPLOY_LIST, DEPLOY_TUPLE, DEPLOY_DICT, DEPLOY_DICT};
  sink_->on_sequence(sink_, kinds[static_cast<int>(kind)], pairs_or_items);
  levels_.push({kind, Ref::of(container), size});
  return true;
}

bool Walker::visit_int(PyObject* object) {
  int overflow = 0;
  long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
  if (!overflow) return sink_->on_int(sink_, value), true;
  if (hand_over(object)) return true;
  Ref bits(PyObject_CallMethod(reinterpret_cast<PyObject*>(&PyLong_Type), "bit_length", "O", object));
  if (!bits) return raised();
  report(error_, ErrorCode::kNotAValue, "%S is an int of %S bits; a value holds ints of up to 63 bits and a sign", spelt().get(),
         bits.get());
  return false;
}

bool Walker::visit_str(PyObject* object) {
  Py_ssize_t size = 0;
  if (const char* data = PyUnicode_AsUTF8AndSize(object, &size)) {
    if (!take_bytes(static_cast<std::size_t>(size))) return false;
    return sink_->on_str(sink_, {data, static_cast<size_t>(size)}), true;
  }
  Ref exception = take_exception();
  if (!PyErr_GivenExceptionMatches(exception.get(), PyExc_UnicodeEncodeError)) {
    report_exception(error_, exception);
    return false;
  }
  if (hand_over(object)) return true;
  report(error_, ErrorCode::kNotAValue, "%S is a str that has no UTF-8 form (%S)", spelt().get(), summary(exception).get());
  return false;
}

bool Walker::visit_bytes(const char* data, Py_ssize_t size) {
  if (!take_bytes(static_cast<std::size_t>(size))) return false;
  return sink_->on_bytes(sink_, {data, static_cast<std::size_t>(size)}), true;
}

// By its own items(): a subclass of dict or a Mapping says itself what is in it and in what order. That may go on for ever.
Ref Walker::pairs_of(PyObject* mapping) {
  Ref name = name_from({"items", 5});
  Ref items(name ? PyObject_CallMethodNoArgs(mapping, name.get()) : nullptr);
  if (!items) return raised(), Ref();
  Ref iterator(PyObject_GetIter(items.get()));
  if (!iterator && !Py_TYPE(items.get())->tp_iter) {
    PyErr_Clear();
    report(error_, ErrorCode::kNotAValue, "items() of %S gave a %S where a Mapping gives pairs of (key, value)", spelt().get(),
           qualified_name(Py_TYPE(items.get())).get());
    return Ref();
  }
  Ref pairs(iterator ? PyList_New(0) : nullptr);
  if (!pairs) return raised(), Ref();
  while (Ref pair = Ref(PyIter_Next(iterator.get()))) {
    const auto count = static_cast<std::size_t>(PyList_GET_SIZE(pairs.get()));
    if (count >= items_left_ / 2) return too_many_items(), Ref();
    if (PyList_Append(pairs.get(), pair.get()) < 0) return raised(), Ref();
    if (count % kBreath == kBreath - 1 && !breathe()) return raised(), Ref();
  }
  return PyErr_Occurred() ? (raised(), Ref()) : std::move(pairs);
}

bool Walker::visit_mapping(PyObject* mapping) {
  Ref pairs = pairs_of(mapping);
  return pairs && open(Level::Kind::kPairs, pairs.get(), PyList_GET_SIZE(pairs.get()));
}

// Its fields, those aside that were never set.
bool Walker::visit_dataclass(PyObject* instance) {
  Ref module(PyImport_ImportModule("dataclasses"));
  Ref fields(module ? PyObject_CallMethod(module.get(), "fields", "O", instance) : nullptr);
  Ref iterator(fields ? PyObject_GetIter(fields.get()) : nullptr);
  Ref pairs(iterator ? PyList_New(0) : nullptr);
  if (!pairs) return raised();
  while (Ref field = Ref(PyIter_Next(iterator.get()))) {
    Ref name(PyObject_GetAttrString(field.get(), "name"));
    Ref value(name ? PyObject_GetAttr(instance, name.get()) : nullptr);
    if (name && !value && PyErr_ExceptionMatches(PyExc_AttributeError)) {
      PyErr_Clear();
      continue;
    }
    Ref pair(value ? PyTuple_Pack(2, name.get(), value.get()) : nullptr);
    if (!pair || PyList_Append(pairs.get(), pair.get()) < 0) return raised();
  }
  if (PyErr_Occurred()) return raised();
  return open(Level::Kind::kPairs, pairs.get(), PyList_GET_SIZE(pairs.get()));
}

// Those with a Python counterpart. A datetime64 or a structured scalar has none; a longdouble is rounded.
bool Walker::visit_numpy_scalar(PyObject* scalar) {
  Ref dtype(PyObject_GetAttrString(scalar, "dtype"));
  Ref kind(dtype ? PyObject_GetAttrString(dtype.get(), "kind") : nullptr);
  if (!kind) return raised();
  const Py_UCS4 code = PyUnicode_Check(kind.get()) && PyUnicode_GetLength(kind.get()) == 1 ? PyUnicode_ReadChar(kind.get(), 0) : 0;
  if (code == 'b') {
    int truth = PyObject_IsTrue(scalar);
    return truth < 0 ? raised() : (sink_->on_bool(sink_, truth), true);
  }
  if (code == 'i' || code == 'u') {
    Ref integer(PyNumber_Index(scalar));
    return integer ? visit_int(integer.get()) : raised();
  }
  if (code == 'f') {
    Ref real(PyNumber_Float(scalar));
    return real ? (sink_->on_float(sink_, PyFloat_AS_DOUBLE(real.get())), true) : raised();
  }
  if (code == 'c') {
    Py_complex parts = PyComplex_AsCComplex(scalar);
    return PyErr_Occurred() ? raised() : (sink_->on_complex(sink_, parts.real, parts.imag), true);
  }
  return no_value(scalar);
}

bool Walker::visit_tensor(PyObject* tensor, const TypeInfo& info) {
  Refusal refusal(error_);
  DLManagedTensorVersioned* managed = export_tensor(tensor, info, *this, sink_->on_object ? &refusal : error_);
  if (!managed) return refusal.is_no_value && hand_over(tensor);
  const uint32_t library = info.category == Category::kTorchTensor  ? DEPLOY_TORCH
                           : info.category == Category::kNumpyArray ? DEPLOY_NUMPY
                                                                    : DEPLOY_ANY_LIBRARY;
  sink_->on_tensor(sink_, managed, library);
  return true;
}

bool Walker::visit_masked_array(PyObject* array) {
  if (hand_over(array)) return true;
  report(error_, ErrorCode::kNotAValue,
         "%S is a %S, and its mask would be lost; return array.filled(value), or array.data and numpy.ma.getmaskarray(array)",
         spelt().get(), qualified_name(Py_TYPE(array)).get());
  return false;
}

bool Walker::visit_other(PyObject* object) {
  TypeInfo info;
  if (!classify(object, info)) return raised();
  switch (info.category) {
    case Category::kUnknown:
      return no_value(object);
    case Category::kInt:
      return visit_int(object);
    case Category::kFloat:
      return sink_->on_float(sink_, PyFloat_AS_DOUBLE(object)), true;
    case Category::kComplex: {
      Py_complex parts = PyComplex_AsCComplex(object);
      return PyErr_Occurred() ? raised() : (sink_->on_complex(sink_, parts.real, parts.imag), true);
    }
    case Category::kStr:
      return visit_str(object);
    case Category::kBytes:
      return visit_bytes(PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object));
    case Category::kByteArray:
      return visit_bytes(PyByteArray_AS_STRING(object), PyByteArray_GET_SIZE(object));
    case Category::kList:
      return open(Level::Kind::kList, object, PyList_GET_SIZE(object));
    case Category::kTuple:
      return open(Level::Kind::kTuple, object, PyTuple_GET_SIZE(object));
    case Category::kMapping:
      return visit_mapping(object);
    case Category::kDataclass:
      return visit_dataclass(object);
    case Category::kNumpyScalar:
      return visit_numpy_scalar(object);
    case Category::kMaskedArray:
      return visit_masked_array(object);
    case Category::kTorchTensor:
    case Category::kNumpyArray:
    case Category::kExchange:
    case Category::kDlpack:
    case Category::kDeployTensor:
      return visit_tensor(object, info);
  }
  return no_value(object);
}

bool Walker::visit(PyObject* object) {
  if (object == Py_None) return sink_->on_none(sink_), true;
  if (object == Py_True) return sink_->on_bool(sink_, 1), true;
  if (object == Py_False) return sink_->on_bool(sink_, 0), true;
  if (PyUnicode_CheckExact(object)) return visit_str(object);
  if (PyTuple_CheckExact(object)) return open(Level::Kind::kTuple, object, PyTuple_GET_SIZE(object));
  if (PyDict_CheckExact(object)) return open(Level::Kind::kDict, object, PyDict_GET_SIZE(object));
  if (PyList_CheckExact(object)) return open(Level::Kind::kList, object, PyList_GET_SIZE(object));
  if (PyFloat_CheckExact(object)) return sink_->on_float(sink_, PyFloat_AS_DOUBLE(object)), true;
  if (PyLong_CheckExact(object)) return visit_int(object);
  return visit_other(object);
}

// The next pair of the level becomes its key and item; false: reported.
bool Walker::next_pair(Level& level) {
  PyObject *key = nullptr, *item = nullptr;
  if (level.kind == Level::Kind::kDict) {
    if (!PyDict_Next(level.container.get(), &level.position, &key, &item)) return changed();
  } else {
    Ref pair = Ref::of(PyList_GET_ITEM(level.container.get(), level.seen));
    if (!PyTuple_Check(pair.get()) || PyTuple_GET_SIZE(pair.get()) != 2) {
      report(error_, ErrorCode::kNotAValue, "items() of %S gave a %S where a Mapping gives (key, value)",
             spelt(levels_.size() - 1).get(), qualified_name(Py_TYPE(pair.get())).get());
      return false;
    }
    key = PyTuple_GET_ITEM(pair.get(), 0);
    item = PyTuple_GET_ITEM(pair.get(), 1);
  }
  Ref new_key = Ref::of(key), new_item = Ref::of(item);
  std::swap(level.key, new_key);
  std::swap(level.item, new_item);
  return true;
}

// Visits the next item of the innermost container, or leaves it where there is none.
bool Walker::next() {
  Level& level = levels_.top();
  if (level.at_key) {
    level.at_key = false;
    Ref item = Ref::of(level.item.get());
    return visit(item.get());
  }
  PyObject* container = level.container.get();
  Py_ssize_t size = level.size;
  if (level.kind == Level::Kind::kDict) size = PyDict_GET_SIZE(container);
  if (level.kind == Level::Kind::kList || level.kind == Level::Kind::kPairs) size = PyList_GET_SIZE(container);
  if (size != level.size && level.seen < level.size) return changed();
  if (level.seen == level.size) {
    PyObject *key = nullptr, *item = nullptr;
    if (level.kind == Level::Kind::kDict && PyDict_Next(container, &level.position, &key, &item)) return changed();
    levels_.pop();
    return true;
  }
  if (level.has_keys()) {
    if (!next_pair(level)) return false;
    ++level.seen;
    level.at_key = true;
    Ref key = Ref::of(level.key.get());
    return visit(key.get());
  }
  Ref item =
      Ref::of(level.kind == Level::Kind::kList ? PyList_GET_ITEM(container, level.seen) : PyTuple_GET_ITEM(container, level.seen));
  ++level.seen;
  return visit(item.get());
}

// Between two items: a host that has failed needs no more of them.
bool Walker::rest() {
  if (sink_->has_failed) {
    report(error_, ErrorCode::kSystem, "the host could not take %s", root_);
    return false;
  }
  return ++visited_ % kBreath != 0 || breathe() || raised();
}

bool Walker::walk(PyObject* object) {
  if (!visit(object)) return false;
  while (!levels_.empty()) {
    if (!next() || !rest()) return false;
  }
  return true;
}

// "[3]", "['logits']", or for a key " (key 'logits')".
Ref spelt_step(const Level& level) {
  if (!level.has_keys()) return Ref(PyUnicode_FromFormat("[%zd]", level.seen - 1));
  Ref shown = Ref::of(level.key.get());
  if (PyUnicode_Check(shown.get()) && PyUnicode_GET_LENGTH(shown.get()) > kSpeltKey) {
    shown = Ref(PyUnicode_Substring(shown.get(), 0, kSpeltKey));
  }
  Ref key(shown ? PyObject_Repr(shown.get()) : nullptr);
  if (!key) PyErr_Clear();
  if (!key) key = Ref(PyUnicode_FromString("..."));
  if (!key) return key;
  return Ref(PyUnicode_FromFormat(level.at_key ? " (key %.60U)" : "[%.60U]", key.get()));
}

// The path to what is visited in the innermost of the first `steps` levels.
Ref Walker::spelt(std::size_t steps) const {
  const std::size_t first = steps > kSpeltSteps ? steps - kSpeltSteps : 0;
  Ref text(PyUnicode_FromFormat(first ? "%s[...]" : "%s", root_));
  for (std::size_t i = first; text && i < steps; ++i) {
    Ref part = spelt_step(levels_[i]);
    text = part ? Ref(PyUnicode_FromFormat("%U%U", text.get(), part.get())) : Ref();
  }
  if (!text) PyErr_Clear();
  return text;
}

}  // namespace

bool walk(PyObject* object, const char* root, deploy_sink* sink, deploy_error* error) {
  return Walker(root, sink, error).walk(object);
}

}  // namespace deploy::guest
