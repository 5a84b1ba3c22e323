#include "lib/loader/guarded_call.h"

#include <cxxabi.h>
#include <unwind.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <typeinfo>

#include "lib/loader/library.h"
#include "lib/loader/object_index.h"

// Catching what private code throws
//
// An exception of private code is thrown by a private libstdc++ and unwound by a private libgcc, each with its own state. A catch
// clause of ours would be entered through the host's libstdc++, whose count of exceptions in flight knows nothing of this one. So
// the frame that catches is an assembly function (guarded_call_x86_64.S) with a personality routine of its own (Itanium C++ ABI,
// "Exception Handling", 1.6), which depends on no C++ run time: it stops the search at that frame and resumes there. What follows,
// __cxa_begin_catch, the text and
// __cxa_end_catch, is then asked of the very libstdc++ that threw, found through the exception's own cleanup function.

namespace deploy::loader {

extern "C" {
// guarded_call_x86_64.S
void deploy_call_guarded(Initialiser function, int count, char** arguments, char** environment);
extern const char deploy_call_guarded_landing[] __attribute__((visibility("hidden")));
}

namespace {

// The exception on its way from the personality routine to call_guarded, in the same thread.
thread_local _Unwind_Exception* t_caught = nullptr;

template <class Function>
Function* find(const Library* library, const char* name, Function* fallback) {
  if (!library) return fallback;
  const Elf64_Sym* symbol = library->symbols->find(SymbolName(name));
  return symbol ? reinterpret_cast<Function*>(library->address(symbol->st_value)) : nullptr;
}

const Library* holder(const void* address) {
  IndexedObject found;
  return index_find(reinterpret_cast<std::uintptr_t>(address), found) ? found.library : nullptr;
}

std::string demangled(const std::type_info& type) {
  int status = 0;
  char* text = abi::__cxa_demangle(type.name(), nullptr, nullptr, &status);
  std::string result = text ? text : type.name();
  std::free(text);
  return result;
}

bool is_cpp(const _Unwind_Exception& exception) {
  constexpr _Unwind_Exception_Class kGnuCpp = 0x474e5543432b2b00;  // "GNUCC++\0"; the lowest bit marks a dependent exception
  return (exception.exception_class & ~_Unwind_Exception_Class{1}) == kGnuCpp;
}

// Ends the exception and says what it was.
std::string swallow(_Unwind_Exception* exception) {
  const Library* runtime = holder(reinterpret_cast<const void*>(exception->exception_cleanup));
  auto* begin_catch = find(runtime, "__cxa_begin_catch", abi::__cxa_begin_catch);
  auto* end_catch = find(runtime, "__cxa_end_catch", abi::__cxa_end_catch);
  auto* current_type = find(runtime, "__cxa_current_exception_type", abi::__cxa_current_exception_type);
  auto* current_exception = find<std::exception_ptr()>(runtime, "_ZSt17current_exceptionv", std::current_exception);
  if (!is_cpp(*exception) || !begin_catch || !end_catch || !current_type || !current_exception) {
    _Unwind_DeleteException(exception);
    return "an exception of an unknown kind";
  }
  begin_catch(exception);
  // An exception_ptr is a pointer to the object. What begin_catch returns is set by the C++ personality only. It is let go of at
  // once: the last reference has to end in the run time that allocated the object.
  void* object = nullptr;
  {
    const std::exception_ptr pointer = current_exception();
    static_assert(sizeof pointer == sizeof object);
    std::memcpy(&object, static_cast<const void*>(&pointer), sizeof object);
  }
  const std::type_info* type = current_type();
  std::string text = type ? demangled(*type) : "an exception";
  const std::type_info* base = runtime ? find<const std::type_info>(runtime, "_ZTISt9exception", nullptr) : &typeid(std::exception);
  if (type && base && base->__do_catch(type, &object, 1))
    text += std::string(": ") + static_cast<const std::exception*>(object)->what();
  end_catch();
  return text;
}

}  // namespace

extern "C" __attribute__((visibility("hidden"))) _Unwind_Reason_Code deploy_guard_personality(int version, _Unwind_Action actions,
                                                                                              _Unwind_Exception_Class,
                                                                                              _Unwind_Exception* exception,
                                                                                              _Unwind_Context* context) {
  if (version != 1) return _URC_FATAL_PHASE1_ERROR;
  if ((actions & _UA_FORCE_UNWIND) != 0) return _URC_CONTINUE_UNWIND;  // pthread_exit and cancellation pass
  if ((actions & _UA_SEARCH_PHASE) != 0) return _URC_HANDLER_FOUND;
  if ((actions & _UA_HANDLER_FRAME) == 0) return _URC_CONTINUE_UNWIND;
  // The context belongs to the unwinder that called this. Where that is linked statically and hides its functions, the host's does:
  // the layout has not changed since GCC 4.
  auto* set_ip = find(holder(__builtin_return_address(0)), "_Unwind_SetIP", _Unwind_SetIP);
  (set_ip ? set_ip : _Unwind_SetIP)(context, reinterpret_cast<_Unwind_Ptr>(deploy_call_guarded_landing));
  t_caught = exception;
  return _URC_INSTALL_CONTEXT;
}

std::optional<std::string> call_guarded(Initialiser function, int count, char** arguments, char** environment) {
  deploy_call_guarded(function, count, arguments, environment);
  _Unwind_Exception* caught = std::exchange(t_caught, nullptr);
  return caught ? std::optional(swallow(caught)) : std::nullopt;
}

}  // namespace deploy::loader
