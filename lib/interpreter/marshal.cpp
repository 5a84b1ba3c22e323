#include "lib/interpreter/marshal.h"

#include <dlpack/dlpack.h>

#include <new>
#include <optional>

#include "lib/interpreter/guest_tensor.h"
#include "lib/interpreter/object_handle.h"

namespace deploy::detail {

namespace {

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
  std::size_t total = 0;
  const auto add = [&](const Value& value) -> Result<void> {
    auto counted = count(value);
    if (!counted) return counted.failure();
    total += *counted;
    return {};
  };
  for (const Value& value : positional) {
    if (auto added = add(value); !added) return added;
  }
  for (const auto& [name, value] : keyword) {
    if (auto added = add(value); !added) return added;
  }
  if (total > few_values_.size()) many_values_ = std::make_unique_for_overwrite<deploy_value[]>(total);
  values_ = many_values_ ? many_values_.get() : few_values_.data();
  if (keyword.size() > few_keywords_.size()) many_keywords_ = std::make_unique_for_overwrite<deploy_text[]>(keyword.size());
  keywords_ = many_keywords_ ? many_keywords_.get() : few_keywords_.data();

  size_ = positional.size() + keyword.size();
  keyword_count_ = keyword.size();
  deploy_value* out = take(size_);
  for (const Value& value : positional) fill(value, *out++);
  for (std::size_t i = 0; i < keyword.size(); ++i) {
    keywords_[i] = text(keyword[i].first);
    fill(keyword[i].second, *out++);
  }
  return {};
}

// How many deploy_values the tree needs.
Result<std::size_t> Arguments::count(const Value& value) const {
  std::size_t total = 1;
  switch (value.kind()) {
    case Value::Kind::kList:
    case Value::Kind::kTuple:
      for (const Value& item : value.items()) {
        auto counted = count(item);
        if (!counted) return counted;
        total += *counted;
      }
      return total;
    case Value::Kind::kDict:
      for (const auto& [key, item] : value.dict_items()) {
        for (const Value* each : {&key, &item}) {
          auto counted = count(*each);
          if (!counted) return counted;
          total += *counted;
        }
      }
      return total;
    case Value::Kind::kTensor:
      if (!value.as_tensor().defined()) {
        return Failure{ErrorCode::kInvalidArgument,
                       "an argument is an empty deploy::Tensor; pass None (deploy::Value()) where a model takes none"};
      }
      return total;
    case Value::Kind::kObject:
      if (auto object = usable_object(value.as_object(), core_); !object) return object.failure();
      return total;
    default:
      return total;
  }
}

// Fresh values are kNone until they are filled: the destructor looks at all of them.
deploy_value* Arguments::take(std::size_t count) {
  deploy_value* first = values_ + used_;
  for (std::size_t i = 0; i < count; ++i) first[i].kind = DEPLOY_NONE;
  used_ += count;
  return first;
}

void Arguments::fill(const Value& value, deploy_value& out) {
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
    case Value::Kind::kTuple: {
      deploy_value* items = take(value.items().size());
      out.as.sequence = {items, value.items().size()};
      for (const Value& item : value.items()) fill(item, *items++);
      break;
    }
    case Value::Kind::kDict: {
      deploy_value* items = take(2 * value.dict_items().size());
      out.as.sequence = {items, 2 * value.dict_items().size()};
      for (const auto& [key, item] : value.dict_items()) {
        fill(key, *items++);
        fill(item, *items++);
      }
      break;
    }
    case Value::Kind::kTensor:
      out.as.tensor = export_to_guest(core_, value.as_tensor());
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
    sink.failure_ = no_memory();
  }
}

ValueSink::ValueSink(InterpreterCore& core) : core_(core) {
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
  on_tensor = [](deploy_sink* self, DLManagedTensorVersioned* tensor) {
    guarded(self, [=](ValueSink& sink) { sink.add_tensor(tensor); });
  };
}

// A container waits for its items, which come next; the last one completes it, and may with it complete the one around it.
void ValueSink::open(Value::Kind kind, std::size_t size) {
  const std::size_t count = kind == Value::Kind::kDict ? 2 * size : size;
  if (count == 0) return place(container({kind, 0, {}}));
  frames_.push_back({kind, count, {}});
  frames_.back().items.reserve(count);
}

void ValueSink::place(Value value) {
  if (failure_) return;
  while (!frames_.empty()) {
    Frame& frame = frames_.back();
    frame.items.push_back(std::move(value));
    if (frame.items.size() < frame.count) return;
    value = container(std::move(frame));
    frames_.pop_back();
  }
  root_ = std::move(value);
  complete_ = true;
}

Value ValueSink::container(Frame frame) {
  if (frame.kind == Value::Kind::kList) return Value::list(std::move(frame.items));
  if (frame.kind == Value::Kind::kTuple) return Value::tuple(std::move(frame.items));
  std::vector<std::pair<Value, Value>> pairs;
  pairs.reserve(frame.items.size() / 2);
  for (std::size_t i = 0; i + 1 < frame.items.size(); i += 2)
    pairs.emplace_back(std::move(frame.items[i]), std::move(frame.items[i + 1]));
  return Value::dict(std::move(pairs));
}

void ValueSink::add_tensor(DLManagedTensorVersioned* tensor) {
  auto imported = import_guest_tensor(core_, tensor);
  if (imported) {
    place(*std::move(imported));
  } else if (!failure_) {
    failure_ = std::move(imported.failure());
  }
}

Result<Value> ValueSink::take() {
  if (failure_) return *std::move(failure_);
  if (!complete_) return Failure{ErrorCode::kInternal, "the guest handed over an incomplete value"};
  return std::move(root_);
}

ErrorSink::ErrorSink() {
  report = [](deploy_error* self, std::int32_t code, deploy_text message, deploy_text python_type, deploy_text traceback) {
    const auto copy = [](deploy_text text) { return std::string(text.data ? text.data : "", text.size); };
    auto& failure = static_cast<ErrorSink*>(self)->failure_;
    failure = Failure{static_cast<ErrorCode>(code), copy(message), copy(python_type), copy(traceback)};
  };
}

Failure ErrorSink::take() {
  if (failure_) return *std::move(failure_);
  return {ErrorCode::kInternal, "the guest failed and gave no reason"};
}

}  // namespace deploy::detail
