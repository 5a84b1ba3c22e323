#include "lib/loader/namespace.h"

#include <dlfcn.h>

#include "lib/loader/namespace_impl.h"
#include "lib/loader/system_unwinder.h"

namespace deploy::loader {

namespace {

std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> counter{0};
  return ++counter;
}

}  // namespace

NamespaceImpl::NamespaceImpl(NamespaceOptions o) : options(std::move(o)), classifier(options.policy), serial(next_serial()) {}

NamespaceImpl::~NamespaceImpl() = default;

void NamespaceImpl::unmap_all() {
  std::vector<Library*> all;
  for (const auto& library : libraries) all.push_back(library.get());
  remove(all);
  delete_keys([](const Library*) { return true; });
  for (const SystemLibrary& system : std::exchange(system_handles, {})) ::dlclose(system.handle);
}

Result<std::unique_ptr<Namespace>> Namespace::create(NamespaceOptions options) {
  teach_system_unwinder();
  return std::unique_ptr<Namespace>(new Namespace(std::make_unique<NamespaceImpl>(std::move(options))));
}

Namespace::Namespace(std::unique_ptr<NamespaceImpl> impl) : impl_(std::move(impl)) {}

Namespace::~Namespace() {
  if (!impl_->libraries.empty() && !unload()) {
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

std::size_t Namespace::live_threads() const {
  const std::lock_guard guard(impl_->threads_lock);
  return impl_->threads.size();
}

Result<void> Namespace::unload() {
  const std::lock_guard one(impl_->loading);
  if (auto none = impl_->check_no_threads(); !none) return none;
  impl_->finalise();
  if (auto none = impl_->check_no_threads(); !none) return none;
  impl_->unmap_all();
  return {};
}

}  // namespace deploy::loader
