#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "lib/support/result.h"

// Thread-local storage of private libraries. The essay is in tls.cpp.
namespace deploy::loader {

// The argument of __tls_get_addr (psABI x86-64, 3.4.6 and Drepper, "ELF Handling For Thread-Local Storage", 3.4.6).
struct TlsIndex {
  std::uint64_t module;
  std::uint64_t offset;
};

// Module numbers with this bit are ours, all others glibc's own.
inline constexpr std::uint64_t kPrivateTlsModule = std::uint64_t{1} << 63;

struct TlsImage {
  const void* data = nullptr;  // the initialisation image: `file_size` bytes, read when a thread first touches the module
  std::size_t file_size = 0, memory_size = 0, alignment = 1;
};

// Initial-exec TLS (R_X86_64_TPOFF64). A private library gets a block in a reserve of static TLS, at one offset from the thread
// pointer in every thread. Fails when the reserve is full. The offset is negative (variant II).
struct StaticTls {
  std::int64_t offset = 0;
  std::size_t size = 0;
};
Result<StaticTls> tls_static_reserve(const TlsImage& image);
void tls_static_release(const StaticTls& block);

// Registers a module; its number (with kPrivateTlsModule) goes into DTPMOD64 words. `image.data` must stay mapped until tls_remove.
// With `block` the module's storage in every thread is that part of the reserve; it is initialised in all threads that have used
// private TLS before, and in any other when it first calls tls_get_addr for the module.
std::uint64_t tls_add(const TlsImage& image, const StaticTls* block = nullptr);
// Frees the module's blocks in all threads. No thread may use them any more.
void tls_remove(std::uint64_t module);

// What DTPMOD64/DTPOFF64 pairs and `__tls_get_addr` of private libraries resolve to. Module 0, which neither we nor glibc give out,
// stands for an undefined weak symbol: its address is null.
void* tls_get_addr(const TlsIndex* index);

// The calling thread's block of a module; null if it has not touched it yet.
void* tls_block(std::uint64_t module);

// TLS descriptors (R_X86_64_TLSDESC): the function and its argument for one (module, offset); `arena` owns the argument.
struct TlsDescriptor {
  void* entry;
  std::uint64_t argument;
};
TlsDescriptor tls_descriptor_static(std::int64_t offset_from_thread_pointer);
TlsDescriptor tls_descriptor_dynamic(const TlsIndex* stable_index);
TlsDescriptor tls_descriptor_undefined(std::uint64_t addend);  // of a weak symbol: the address is null plus the addend

// glibc's own module and offset for a TLS variable of a system library, given its address in this thread.
Result<TlsIndex> tls_system_index(const void* address_in_this_thread);
// The distance of such a module's block from the thread pointer, the same in every thread; fails for a module outside static TLS.
Result<std::int64_t> tls_system_static_offset(std::uint64_t module);

// The text of this thread's last dlerror(). It lives here because it outlasts the thread's destructors, and static TLS is too
// scarce for it.
std::string& tls_error_text();

// C++ thread_local destructors of private code: run in reverse order when the thread ends, or dropped by tls_drop_destructors.
int tls_at_thread_exit(void (*destructor)(void*), void* object, void* library);
// Calls `function(argument)` when the calling thread has run all its destructors, those of pthread keys included: no private code
// follows.
void tls_when_thread_ended(void (*function)(void*), void* argument);
// What a thread that is about to be made will need of its own, `function(argument)` as above included; null where there is no
// memory. The new thread begins with it, or it is dropped.
struct TlsThread;
TlsThread* tls_new_thread(void (*function)(void*), void* argument) noexcept;
void tls_begin_thread(TlsThread* made) noexcept;
void tls_drop_new_thread(TlsThread* made) noexcept;
// Initialises the calling thread's part of the reserve of static TLS for all modules that have one: code of any may run here.
void tls_prepare_thread();
// Runs the calling thread's destructors that `library` registered, and forgets those of all other threads.
void tls_drop_destructors(void* library);
// Whether any thread has destructors that `library` registered.
bool tls_has_destructors(const void* library);

}  // namespace deploy::loader
