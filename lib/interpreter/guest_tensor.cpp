// The lifetime of a tensor that came out of an interpreter.
//
// Its elements are the interpreter's memory and its deleter is the interpreter's code, so the host's handles keep the interpreter
// alive: they share a GuestBlock, which holds the InterpreterCore. The deleter has to run inside the interpreter; the ReleaseQueue
// sees to that.
//
// When such a tensor is passed back into its own interpreter, that reference must not go with it: a model that stores it (a cache)
// would keep its interpreter alive from within, for ever. The memory has a count of its own therefore (GuestMemory), and what goes
// back in shares only that.

#include "lib/interpreter/guest_tensor.h"

#include <utility>

#include "lib/interpreter/process.h"
#include "lib/tensor/block.h"

namespace deploy::detail {

namespace {

struct GuestMemory {
  GuestMemory(std::shared_ptr<ReleaseQueue> releases, DLManagedTensorVersioned* managed)
      : releases(std::move(releases)), managed(managed) {}
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;
  ~GuestMemory() { releases->give_back(managed); }

  const std::shared_ptr<ReleaseQueue> releases;
  DLManagedTensorVersioned* const managed;
};

struct GuestBlock : TensorAccess::Block {
  ~GuestBlock() {
    const MustNotBlock scope;
    memory.reset();
    core.reset();
  }
  std::shared_ptr<InterpreterCore> core;
  std::shared_ptr<GuestMemory> memory;
};

struct ExportHome {
  DLManagedTensorVersioned managed;
  std::shared_ptr<GuestMemory> memory;
};

}  // namespace

Result<Tensor> import_guest_tensor(InterpreterCore& core, DLManagedTensorVersioned* managed) {
  if (auto checked = check_dlpack(managed); !checked) {
    if (managed && managed->deleter) managed->deleter(managed);
    return checked.failure();
  }
  const auto drop = [](DLManagedTensorVersioned* tensor) {
    if (tensor->deleter) tensor->deleter(tensor);
  };
  std::unique_ptr<DLManagedTensorVersioned, decltype(drop)> owner(managed);  // where there is no memory
  auto block = std::make_shared<GuestBlock>();
  block->adopt(*managed);
  block->origin = &core;
  block->memory = std::make_shared<GuestMemory>(core.releases(), managed);
  owner.release();
  block->core = core.shared_from_this();
  return TensorAccess::wrap(std::move(block));
}

DLManagedTensorVersioned* export_to_guest(const InterpreterCore& core, const Tensor& tensor) {
  const auto& block = TensorAccess::block(tensor);
  if (block->origin != &core) return export_dlpack(tensor);
  // The guest's own description, whose arrays live as long as the memory.
  const auto& home = static_cast<const GuestBlock&>(*block);
  auto* exported = new ExportHome{{}, home.memory};
  exported->managed.version = home.memory->managed->version;
  exported->managed.manager_ctx = exported;
  exported->managed.deleter = [](DLManagedTensorVersioned* self) { delete static_cast<ExportHome*>(self->manager_ctx); };
  exported->managed.flags = home.flags & ~static_cast<std::uint64_t>(DLPACK_FLAG_BITMASK_IS_COPIED);
  exported->managed.dl_tensor = home.memory->managed->dl_tensor;
  return &exported->managed;
}

}  // namespace deploy::detail
