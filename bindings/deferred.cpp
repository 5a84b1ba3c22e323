#include "bindings/deferred.h"

#include <atomic>
#include <memory>

#include "bindings/exit.h"
#include "bindings/gil.h"

namespace deploy::bindings {

namespace {

// The managed tensor that libdeploy gets: a view of the exported one, and a link of the list.
struct HostTensor {
  DLManagedTensorVersioned managed = {};
  void* source = nullptr;
  void (*delete_source)(void*) = nullptr;
  HostTensor* next = nullptr;

  ~HostTensor() { delete_source(source); }
};

std::atomic<HostTensor*> deferred = nullptr;
std::atomic<bool> drain_requested = false;

void push(HostTensor* tensor) noexcept {
  tensor->next = deferred.load(std::memory_order_relaxed);
  while (!deferred.compare_exchange_weak(tensor->next, tensor, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

int drain_when_pending(void*) noexcept {
  drain_requested = false;
  drain_deferred();
  return 0;
}

void delete_host_tensor(DLManagedTensorVersioned* managed) noexcept {
  auto* tensor = static_cast<HostTensor*>(managed->manager_ctx);
  // After the end of Python the object's memory is nobody's any more; PyGILState_Check() would say yes to everybody.
  if (!Py_IsInitialized()) return;
  if (PyGILState_Check()) {
    delete tensor;
    return;
  }
  push(tensor);
  if (gil_is_released_here() || exiting() || drain_requested.exchange(true)) return;
  // The queue of pending calls may be full; then the next tensor asks again.
  if (Py_AddPendingCall(drain_when_pending, nullptr) != 0) drain_requested = false;
}

Tensor adopt(std::unique_ptr<HostTensor> tensor, DLPackVersion version, std::uint64_t flags, const DLTensor& view) {
  tensor->managed.version = version;
  tensor->managed.manager_ctx = tensor.get();
  tensor->managed.deleter = delete_host_tensor;
  tensor->managed.flags = flags;
  tensor->managed.dl_tensor = view;
  Tensor result = Tensor::from_dlpack(&tensor->managed);
  tensor.release();
  return result;
}

template <class Managed>
void delete_managed(void* source) {
  auto* managed = static_cast<Managed*>(source);
  if (managed->deleter) managed->deleter(managed);
}

}  // namespace

Tensor defer_deletion(DLManagedTensorVersioned* managed) {
  auto tensor = std::make_unique<HostTensor>();
  tensor->source = managed;
  tensor->delete_source = delete_managed<DLManagedTensorVersioned>;
  // What another major version has there is unknown; Tensor::from_dlpack() refuses it.
  const DLTensor view = managed->version.major == DLPACK_MAJOR_VERSION ? managed->dl_tensor : DLTensor{};
  return adopt(std::move(tensor), managed->version, managed->flags, view);
}

Tensor defer_deletion(DLManagedTensor* managed) {
  auto tensor = std::make_unique<HostTensor>();
  tensor->source = managed;
  tensor->delete_source = delete_managed<DLManagedTensor>;
  return adopt(std::move(tensor), {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION}, 0, managed->dl_tensor);
}

void drain_deferred() noexcept {
  HostTensor* tensor = deferred.exchange(nullptr, std::memory_order_acquire);
  while (tensor) {
    HostTensor* next = tensor->next;
    delete tensor;
    tensor = next;
  }
}

}  // namespace deploy::bindings
