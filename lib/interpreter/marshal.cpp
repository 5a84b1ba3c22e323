#include "lib/interpreter/marshal.h"

#include <dlpack/dlpack.h>

#include <new>
#include <optional>

#include "lib/interpreter/argument_check.h"
#include "lib/interpreter/guest_tensor.h"
#include "lib/interpreter/object_handle.h"

namespace deploy::detail {

namespace {

static_assert(static_cast<int>(TensorLibrary::kAny) == DEPLOY_ANY_LIBRARY &&
                  static_cast<int>(TensorLibrary::kTorch) == DEPLOY_TORCH &&
                  static_cast<int>(TensorLibrary::kNumpy) == DEPLOY_NUMPY,
              "TensorLibrary and deploy_library have the same numbers");
static_assert(static_cast<int>(Value::Kind::kObject) == DEPLOY_OBJECT && static_cast<int>(Value::Kind::kList) == DEPLOY_LIST &&
                  static_cast<int>(Value::Kind::kBytes) == DEPLOY_BYTES,
              "Value::Kind and deploy_kind have the same order");

Failure no_memory() { return {ErrorCode::kSystem, "no memory for a result"}; }

}  // namespace

Arguments::~Arguments() {
  if (handed_over_) return;
  for (std::size_t i = 0; i < used_; ++i) {
    if (values_[i].kind == DEPLOY_TENSOR && values_[i].as.tensor) values_[i].as.tensor->deleter(values_[i].as.tensor);
  }
}

// All that can be wrong is found before the first tensor is exported.
Result<void> Arguments::set(std::span<const Value> positional, std::span<const std::pair<std::string, Value>> keyword) {
  try {
    ArgumentCheck check(core_);
    for (const Value& value : positional) {
      if (auto checked = check.add(value, nullptr); !checked) return checked;
    }
    for (const auto& [name, value] : keyword) {
      if (auto checked = check.add(value, &name); !checked) return checked;
    }
    lay_out(positional, keyword, check.values());
    return {};
  } catch (const std::bad_alloc&) {
    return Failure{ErrorCode::kSystem, "no memory for the arguments of a call"};
  }
}

// The values are their own queue, breadth first: one that `expect` has made names the Value that it is to be filled from, and what
// is inside a container comes behind all that are there.
void Arguments::lay_out(std::span<const Value> positional, std::span<const std::pair<std::string, Value>> keyword,
                        std::size_t total) {
  if (total > few_values_.size()) many_values_ = std::make_unique_for_overwrite<deploy_value[]>(total);
  values_ = many_values_ ? many_values_.get() : few_values_.data();
  if (keyword.size() > few_keywords_.size()) many_keywords_ = std::make_unique_for_overwrite<deploy_text[]>(keyword.size());
  keywords_ = many_keywords_ ? many_keywords_.get() : few_keywords_.data();

  size_ = positional.size() + keyword.size();
  keyword_count_ = keyword.size();
  for (const Value& value : positional) expect(value);
  for (std::size_t i = 0; i < keyword.size(); ++i) {
    keywords_[i] = text(keyword[i].first);
    expect(keyword[i].second);
  }
  for (std::size_t i = 0; i < used_; ++i) fill(values_[i]);
}

// Until it is filled it is a kNone: the destructor looks at all of them.
void Arguments::expect(const Value& value) {
  deploy_value& expected = values_[used_++];
  expected.kind = DEPLOY_NONE;
  expected.as.source = &value;
}

void Arguments::fill(deploy_value& out) {
  const Value& value = *static_cast<const Value*>(out.as.source);
  switch (value.kind()) {
    case Value::Kind::kNone:
      break;
    case Value::Kind::kBool:
      out.as.integer = value.as_bool();
      break;
    case Value::Kind::kInt:
      out.as.integer = value.as_int();
      break;
    case Value::Kind::kFloat:
      out.as.real = value.as_float();
      break;
    case Value::Kind::kComplex: {
      const auto number = value.as_complex();
      out.as.complex_parts[0] = number.real();
      out.as.complex_parts[1] = number.imag();
      break;
    }
    case Value::Kind::kStr:
      out.as.text = text(value.as_str());
      break;
    case Value::Kind::kBytes:
      out.as.text = text(value.as_bytes());
      break;
    case Value::Kind::kList:
    case Value::Kind::kTuple:
      out.as.sequence = {values_ + used_, value.items().size()};
      for (const Value& item : value.items()) expect(item);
      break;
    case Value::Kind::kDict:
      out.as.sequence = {values_ + used_, 2 * value.dict_items().size()};
      for (const auto& [key, item] : value.dict_items()) {
        expect(key);
        expect(item);
      }
      break;
    case Value::Kind::kTensor:
      out.as.tensor = export_to_guest(core_, value.as_tensor());
      out.library = static_cast<std::uint32_t>(value.as_tensor().library());
      break;
    case Value::Kind::kObject:
      out.as.object = value.as_object().handle()->reference.get();
      break;
  }
  out.kind = static_cast<std::uint32_t>(value.kind());
}

// Nothing may be thrown through the guest's frames: the first failure is kept, and what comes after it dropped.
template <class F>
void ValueSink::guarded(deploy_sink* self, F&& add) noexcept {
  auto& sink = *static_cast<ValueSink*>(self);
  try {
    add(sink);
  } catch (const std::bad_alloc&) {
    sink.frames_ = {};
    sink.fail(no_memory());
  }
}

// What there is so far goes at once.
void ValueSink::fail(Failure failure) {
  has_failed = 1;
  frames_ = {};
  if (!failure_) failure_ = std::move(failure);
}

ValueSink::ValueSink(InterpreterCore& core, Opaque opaque, std::optional<GradMode> grad_mode) : core_(core), grad_mode_(grad_mode) {
  const ValueLimits& limits = core.value_limits();
  max_depth = limits.depth;
  max_items = limits.items;
  max_bytes = limits.bytes;
  item_bytes = sizeof(Value);
  has_failed = 0;
  on_none = [](deploy_sink* self) { guarded(self, [](ValueSink& sink) { sink.place(Value()); }); };
  on_bool = [](deploy_sink* self, int value) { guarded(self, [=](ValueSink& sink) { sink.place(value != 0); }); };
  on_int = [](deploy_sink* self, std::int64_t value) { guarded(self, [=](ValueSink& sink) { sink.place(value); }); };
  on_float = [](deploy_sink* self, double value) { guarded(self, [=](ValueSink& sink) { sink.place(value); }); };
  on_complex = [](deploy_sink* self, double real, double imaginary) {
    guarded(self, [=](ValueSink& sink) { sink.place(std::complex<double>(real, imaginary)); });
  };
  on_str = [](deploy_sink* self, deploy_text utf8) {
    guarded(self, [=](ValueSink& sink) { sink.place(std::string(utf8.data, utf8.size)); });
  };
  on_bytes = [](deploy_sink* self, deploy_text bytes) {
    guarded(self, [=](ValueSink& sink) { sink.place(Value::bytes(std::string(bytes.data, bytes.size))); });
  };
  on_sequence = [](deploy_sink* self, std::uint32_t kind, std::size_t size) {
    guarded(self, [=](ValueSink& sink) { sink.open(static_cast<Value::Kind>(kind), size); });
  };
  on_tensor = [](deploy_sink* self, DLManagedTensorVersioned* tensor, std::uint32_t library) {
    guarded(self, [=](ValueSink& sink) { sink.add_tensor(tensor, library); });
  };
  on_object = nullptr;
  if (opaque == Opaque::kObject) {
    on_object = [](deploy_sink* self, deploy_object object, deploy_text type) {
      guarded(self, [=](ValueSink& sink) { sink.add_object(object, type); });
    };
  }
}

// A container waits for its items, which come next; the last one completes it, and may with it complete the one around it.
void ValueSink::open(Value::Kind kind, std::size_t size) {
  if (failure_) return;
  if (size == 0) return place(container({kind, 0}));
  Frame& frame = frames_.emplace_back(Frame{kind, size});
  if (kind == Value::Kind::kDict) {
    frame.pairs.reserve(size);
  } else {
    frame.items.reserve(size);
  }
}

void ValueSink::place(Value value) {
  if (failure_) return;
  while (!frames_.empty()) {
    Frame& frame = frames_.back();
    if (frame.kind != Value::Kind::kDict) {
      frame.items.push_back(std::move(value));
      if (frame.items.size() < frame.size) return;
    } else if (!frame.has_key) {
      frame.pairs.emplace_back().first = std::move(value);
      frame.has_key = true;
      return;
    } else {
      frame.pairs.back().second = std::move(value);
      frame.has_key = false;
      if (frame.pairs.size() < frame.size) return;
    }
    value = container(std::move(frame));
    frames_.pop_back();
  }
  root_ = std::move(value);
  complete_ = true;
}

Value ValueSink::container(Frame frame) {
  if (frame.kind == Value::Kind::kList) return Value::list(std::move(frame.items));
  if (frame.kind == Value::Kind::kTuple) return Value::tuple(std::move(frame.items));
  return Value::dict(std::move(frame.pairs));
}

void ValueSink::add_object(deploy_object object, deploy_text type) {
  Reference reference(core_.releases(), object);
  place(Object(std::make_shared<Object::Handle>(std::move(reference), core_.slot(), core_.id(), Object::Handle::kNoSession,
                                                grad_mode_, core_.weak_from_this(), std::string(type.data, type.size))));
}

void ValueSink::add_tensor(DLManagedTensorVersioned* tensor, std::uint32_t library) {
  auto imported = import_guest_tensor(core_, tensor);
  if (imported) {
    place((*std::move(imported)).with_library(static_cast<TensorLibrary>(library)));
  } else {
    fail(std::move(imported.failure()));
  }
}

Failure ValueSink::failed(Failure reported) { return failure_ ? *std::move(failure_) : std::move(reported); }

Result<Value> ValueSink::take() {
  if (failure_) return *std::move(failure_);
  if (!complete_) return Failure{ErrorCode::kInternal, "the guest handed over an incomplete value"};
  return std::move(root_);
}

ErrorSink::ErrorSink() {
  report = [](deploy_error* self, std::int32_t code, deploy_text message, deploy_text python_type, deploy_text traceback) {
    const auto copy = [](deploy_text text) { return std::string(text.data ? text.data : "", text.size); };
    auto& failure = static_cast<ErrorSink*>(self)->failure_;
    try {
      failure = Failure{static_cast<ErrorCode>(code), copy(message), copy(python_type), copy(traceback)};
    } catch (const std::bad_alloc&) {  // nothing may be thrown through the guest's frames
      failure = Failure{static_cast<ErrorCode>(code), "(no memory)"};
    }
  };
}

Failure ErrorSink::take() {
  if (failure_) return *std::move(failure_);
  return {ErrorCode::kInternal, "the guest failed and gave no reason"};
}

}  // namespace deploy::detail
