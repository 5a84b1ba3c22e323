#include <unistd.h>

#include <algorithm>

#include "lib/loader/namespace_impl.h"

extern "C" void __cxa_finalize(void*);

namespace deploy::loader {

namespace {

using Initialiser = void (*)(int, char**, char**);
using Finaliser = void (*)();

// What glibc passes to initialisers; some run-time libraries (Rust's) read it.
char g_program[] = "";
char* g_arguments[] = {g_program, nullptr};

template <class Function>
std::vector<Function> functions(const Library& library, const AddressRange& range) {
  std::vector<Function> list;
  const auto* words = reinterpret_cast<const std::uintptr_t*>(library.address(range.vaddr));
  for (std::uint64_t i = 0; i < range.size / sizeof(std::uintptr_t); ++i) {
    // 0 and -1 mark unused entries (as crtbegin's old .ctors did).
    if (words[i] != 0 && words[i] != ~std::uintptr_t{0}) list.push_back(reinterpret_cast<Function>(words[i]));
  }
  return list;
}

}  // namespace

// DT_INIT first, then DT_INIT_ARRAY in order (gABI chapter 5, "Initialization and Termination Functions").
void NamespaceImpl::initialise(const std::vector<Library*>& order) {
  for (Library* library : order) {
    library->initialised = true;
    initialised.push_back(library);
    if (library->dynamic.init != 0) reinterpret_cast<Initialiser>(library->address(library->dynamic.init))(1, g_arguments, environ);
    for (Initialiser f : functions<Initialiser>(*library, library->dynamic.init_array)) f(1, g_arguments, environ);
  }
}

int NamespaceImpl::at_exit(const ExitHandler& handler) {
  const std::lock_guard guard(lock);
  exit_handlers.push_back(handler);
  return 0;
}

// The handlers of one library (__cxa_finalize(dso), Itanium C++ ABI 3.3.6.3), or all of them for null; the newest first. One that
// registers another is honoured.
void NamespaceImpl::run_exit_handlers(void* dso) {
  while (true) {
    ExitHandler handler{};
    {
      const std::lock_guard guard(lock);
      const auto newest = std::find_if(exit_handlers.rbegin(), exit_handlers.rend(), [&](const ExitHandler& h) { return !dso || h.dso == dso; });
      if (newest == exit_handlers.rend()) break;
      handler = *newest;
      exit_handlers.erase(std::next(newest).base());
    }
    handler.function(handler.argument);
  }
  if (dso) ::__cxa_finalize(dso);  // glibc holds the library's pthread_atfork handlers under the same key
}

// In the reverse order of initialisation: exit handlers and DT_FINI_ARRAY backwards, then DT_FINI. The handlers of all libraries run first
// and interleaved, as at the end of a process.
void NamespaceImpl::finalise() {
  run_exit_handlers(nullptr);
  while (!initialised.empty()) {
    Library* library = initialised.back();
    initialised.pop_back();
    auto list = functions<Finaliser>(*library, library->dynamic.fini_array);
    for (auto f = list.rbegin(); f != list.rend(); ++f) (*f)();
    if (library->dynamic.fini != 0) reinterpret_cast<Finaliser>(library->address(library->dynamic.fini))();
    tls_drop_destructors(library);
  }
  run_exit_handlers(nullptr);
}

}  // namespace deploy::loader
