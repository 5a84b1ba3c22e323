#include "lib/loader/namespace.h"

#include <sys/mman.h>

#include "lib/loader/namespace_impl.h"
#include "lib/loader/shared_libraries.h"
#include "lib/loader/system_unwinder.h"
#include "lib/support/system_refusal.h"

namespace deploy::loader {

namespace {

std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> counter{0};
  return ++counter;
}

Failure no_memory_to_end(const NamespaceImpl& impl) {
  return {ErrorCode::kSystem, impl.options.name + " cannot be unloaded: there is no memory for a thread's state in its heap"};
}

}  // namespace

NamespaceImpl::NamespaceImpl(NamespaceOptions o)
    : options(std::move(o)),
      classifier(options.policy, [this](std::string_view name) { return is_global(name); }),
      serial(next_serial()) {}

NamespaceImpl::~NamespaceImpl() = default;

void NamespaceImpl::unmap_all() {
  heap->retire();  // a thread that ends at this moment must not tell an allocator that is being unmapped
  std::vector<Library*> all;
  for (const auto& library : libraries) all.push_back(library.get());
  remove(all);
  delete_keys([](const Library*) { return true; });
  for (const SystemLibrary& system : std::exchange(system_handles, {})) close_shared(system.handle);
  openmp.close();
  heap.reset();
}

Result<void> NamespaceImpl::load_allocator() {
  if (options.allocator.empty() || !system_allocator_is_plain()) return {};
  teach_system_allocator();
  const std::lock_guard one(loading);
  loading_allocator = true;
  auto library = load(options.allocator, Visibility::kLocal, nullptr);
  loading_allocator = false;
  if (!library) return std::move(library.failure()).within("the private allocator");
  const Elf64_Sym* symbol = (*library)->symbols->find(SymbolName("deploy_allocator_table"));
  if (!symbol) return Failure{ErrorCode::kLoader, (*library)->path + " does not define 'deploy_allocator_table'"};
  heap->set_allocator(reinterpret_cast<const deploy_heap_allocator*>((*library)->address(symbol->st_value)));
  return {};
}

Result<std::unique_ptr<Namespace>> Namespace::create(NamespaceOptions options) {
  teach_system_unwinder();
  auto heap = Heap::create(options.memory_limit);
  if (!heap) return heap.failure();
  auto impl = std::make_unique<NamespaceImpl>(std::move(options));
  impl->heap = *std::move(heap);
  std::unique_ptr<Namespace> made(new Namespace(std::move(impl)));
  if (auto loaded = made->impl_->load_allocator(); !loaded) return loaded.failure();
  return made;
}

Namespace::Namespace(std::unique_ptr<NamespaceImpl> impl) : impl_(std::move(impl)) {}

Namespace::~Namespace() {
  const auto unloaded = [this] { return or_system_refusal([this] { return unload(); }).ok(); };
  if (!impl_->libraries.empty() && (impl_->given_up || !unloaded())) {
    // Threads of private code still run: their code must outlive them, so the mappings are given up for the life of the process.
    (void)impl_.release();
  }
}

Result<Library*> Namespace::load(const std::string& path, Visibility visibility) { return impl_->load(path, visibility, nullptr); }

Result<void*> Namespace::symbol(Library* library, const std::string& name) {
  const std::lock_guard guard(impl_->lock);
  const Elf64_Sym* symbol = nullptr;
  const Library* owner = impl_->find_in(library->local_scope, SymbolName(name), symbol);
  if (!owner) return Failure{ErrorCode::kLoader, library->path + " and its dependencies do not define '" + name + "'"};
  return reinterpret_cast<void*>(impl_->address_of(*owner, *symbol));
}

void Namespace::enter_thread() { impl_->enter_thread(); }
void Namespace::leave_thread() noexcept { heap_leave(*impl_->heap); }

std::span<const OpenMpRuntime> Namespace::openmp_runtimes() const noexcept { return impl_->openmp.runtimes(); }

std::size_t Namespace::live_threads() const {
  const std::lock_guard guard(impl_->threads_lock);
  return impl_->threads.size();
}

Heap& Namespace::heap() const { return *impl_->heap; }
bool Namespace::has_private_allocator() const { return impl_->heap->allocator() != nullptr; }

std::size_t Namespace::library_data() const {
  const std::lock_guard guard(impl_->lock);
  std::size_t bytes = 0;
  for (const auto& library : impl_->libraries) {
    for (const Segment& segment : library->image.segments) {
      if ((segment.protection & PROT_WRITE) != 0) bytes += (segment.memory_size + 4095) / 4096 * 4096;
    }
  }
  return bytes;
}

Result<void> Namespace::end(std::chrono::milliseconds patience) {
  const std::lock_guard one(impl_->loading);
  if (has_private_allocator() && !impl_->heap->enter()) {
    impl_->given_up = true;
    return no_memory_to_end(*impl_);
  }
  impl_->finalise();
  impl_->cancel_threads();
  if (auto none = impl_->wait_for_threads(patience); !none) {
    impl_->given_up = true;
    return none;
  }
  impl_->unmap_all();
  return {};
}

Result<void> Namespace::unload() {
  const std::lock_guard one(impl_->loading);
  if (auto none = impl_->check_no_threads(); !none) return none;
  // The allocator's own finalisers do not ask whose state is at hand.
  if (has_private_allocator() && !impl_->heap->enter()) return no_memory_to_end(*impl_);
  impl_->finalise();
  if (auto none = impl_->check_no_threads(); !none) return none;
  impl_->unmap_all();
  return {};
}

}  // namespace deploy::loader
