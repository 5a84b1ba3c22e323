#include "lib/interpreter/guest/collector.h"

namespace deploy::guest {
namespace {

constexpr int kObjects = 300'000;

// Calls a function of module gc. Null: it failed, and what it raised is gone.
Ref call_gc(const char* function, const char* format = nullptr, int first = 0, int second = 0, int third = 0) {
  Ref module(PyImport_ImportModule("gc"));
  Ref result(module ? PyObject_CallMethod(module.get(), function, format, first, second, third) : nullptr);
  if (!result) PyErr_Clear();
  return result;
}

}  // namespace

RareCollections::RareCollections() {
  Ref thresholds = call_gc("get_threshold");
  if (!thresholds || !PyArg_ParseTuple(thresholds.get(), "iii", &first_, &second_, &third_)) PyErr_Clear();
  changed_ = first_ > 0 && first_ < kObjects && call_gc("set_threshold", "iii", kObjects, second_, third_);
}

void RareCollections::end() {
  if (!changed_) return;
  Ref now = call_gc("get_threshold");
  int first = 0, second = 0, third = 0;
  if (!now || !PyArg_ParseTuple(now.get(), "iii", &first, &second, &third)) PyErr_Clear();
  if (first != kObjects) return;
  // With the usual threshold the next object would have all the new ones looked at. This makes them old ones.
  Ref frozen = call_gc("get_freeze_count");
  if (frozen && PyLong_AsLong(frozen.get()) == 0) {
    call_gc("freeze");
    call_gc("unfreeze");
  }
  call_gc("set_threshold", "iii", first_, second_, third_);
}

void freeze() { call_gc("freeze"); }
void unfreeze() { call_gc("unfreeze"); }

}  // namespace deploy::guest
