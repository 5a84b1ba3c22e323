#include <unistd.h>

#include <algorithm>
#include <new>

#include "lib/loader/guarded_call.h"
#include "lib/loader/namespace_impl.h"
#include "lib/loader/registrations.h"
#include "lib/loader/signals.h"
#include "lib/loader/system_unwinder.h"
#include "lib/loader/variables.h"

extern "C" void __cxa_finalize(void*);

namespace deploy::loader {

namespace {

using Finaliser = void (*)();

// What glibc passes to initialisers; some run-time libraries (Rust's) read it.
char g_program[] = "";
char* g_arguments[] = {g_program, nullptr};

template <class Function>
std::vector<Function> functions(const Library& library, const AddressRange& range) {
  std::vector<Function> list;
  for (std::uintptr_t address : function_addresses(library, range)) list.push_back(reinterpret_cast<Function>(address));
  return list;
}

}  // namespace

std::vector<std::uintptr_t> function_addresses(const Library& library, const AddressRange& range) {
  std::vector<std::uintptr_t> list;
  const auto* words = reinterpret_cast<const std::uintptr_t*>(library.address(range.vaddr));
  for (std::uint64_t i = 0; i < range.size / sizeof(std::uintptr_t); ++i) {
    // 0 and -1 mark unused entries (as crtbegin's old .ctors did).
    if (words[i] != 0 && words[i] != ~std::uintptr_t{0}) list.push_back(words[i]);
  }
  return list;
}

// DT_INIT first, then DT_INIT_ARRAY in order (gABI chapter 5, "Initialization and Termination Functions").
Result<void> NamespaceImpl::initialise(const std::vector<Library*>& order) {
  for (Library* library : order) {
    if (std::exchange(library->initialised, true)) continue;  // by an initialiser that loaded something else that needs it
    initialised.push_back(library);
    library->initialising = true;
    std::vector<Initialiser> list = functions<Initialiser>(*library, library->dynamic.init_array);
    if (library->dynamic.init != 0)
      list.insert(list.begin(), reinterpret_cast<Initialiser>(library->address(library->dynamic.init)));
    std::optional<std::string> thrown;
    for (std::size_t i = 0; i < list.size() && !thrown; ++i) thrown = call_guarded(list[i], 1, g_arguments, environ);
    prepare_private_unwinder(*library);
    library->initialising = false;
    library->threw = thrown.has_value();
    if (thrown) return Failure{ErrorCode::kLoader, library->path + ": an initialiser threw " + *thrown};
  }
  return {};
}

int NamespaceImpl::at_exit(const ExitHandler& handler) {
  const std::lock_guard guard(handlers_lock);
  try {
    exit_handlers.push_back(handler);
  } catch (const std::bad_alloc&) {
    return -1;
  }
  return 0;
}

void NamespaceImpl::run_exit_handlers(const std::function<bool(const ExitHandler&)>& matches) {
  while (true) {
    ExitHandler handler{};
    {
      const std::lock_guard guard(handlers_lock);
      const auto newest = std::find_if(exit_handlers.rbegin(), exit_handlers.rend(), matches);
      if (newest == exit_handlers.rend()) return;
      handler = *newest;
      exit_handlers.erase(std::next(newest).base());
    }
    handler.function(handler.argument);
  }
}

// DT_FINI_ARRAY backwards, then DT_FINI, unless its initialisers did not get through; and what is left of its exit handlers.
void NamespaceImpl::finalise(Library& library) {
  if (!library.threw) {
    auto list = functions<Finaliser>(library, library.dynamic.fini_array);
    for (auto f = list.rbegin(); f != list.rend(); ++f) (*f)();
    if (library.dynamic.fini != 0) reinterpret_cast<Finaliser>(library.address(library.dynamic.fini))();
  }
  run_exit_handlers([&](const ExitHandler& h) { return h.library == &library; });
  if (library.fork_handlers) ::__cxa_finalize(library.fork_handlers);
  tls_drop_destructors(&library);
}

// The handlers of all libraries run first and interleaved, as at the end of a process; then each library in the reverse order of
// initialisation.
void NamespaceImpl::finalise() {
  const auto all = [](const ExitHandler&) { return true; };
  run_exit_handlers(all);
  while (!initialised.empty()) {
    Library* library = initialised.back();
    initialised.pop_back();
    finalise(*library);
  }
  run_exit_handlers(all);
  end_registrations(*this);
  end_variables(*this);
  forget_signals(*this);
}

}  // namespace deploy::loader
