#pragma once

// The guest: the side of the border (../abi.h) that lives inside the image, with the embedded CPython, once for each interpreter.
//
// It is C++ without exceptions, RTTI and libstdc++: templates and inline code of the standard library are fine (string_view,
// unique_ptr, vector, string), what lives in libstdc++.so is not, and the link fails on it. Out of memory ends the process, as in
// CPython's own fatal paths. Functions of the table run with the GIL held, except those of boot.cpp, whose comments in abi.h say
// otherwise.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string_view>

#include "lib/interpreter/abi.h"

// Slots of a builtin module of ours that has no state of the process: sub-interpreters may have it, those with a GIL of their own
// too.
#if PY_VERSION_HEX >= 0x030C0000
#define DEPLOY_EACH_INTERPRETER {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#else
#define DEPLOY_EACH_INTERPRETER
#endif

namespace deploy::guest {

inline std::string_view view(deploy_text text) { return {text.data, text.size}; }
inline deploy_text text(std::string_view view) { return {view.data(), view.size()}; }

// deploy_object is a PyObject that somebody owns.
inline PyObject* borrowed(deploy_object object) { return reinterpret_cast<PyObject*>(object); }
inline deploy_object handed_over(PyObject* object) { return reinterpret_cast<deploy_object>(object); }

// An owned reference, or null.
class Ref {
 public:
  Ref() = default;
  explicit Ref(PyObject* owned) : object_(owned) {}
  Ref(Ref&& other) noexcept : object_(other.release()) {}
  Ref& operator=(Ref&& other) noexcept {
    PyObject* old = object_;
    object_ = other.release();
    Py_XDECREF(old);
    return *this;
  }
  ~Ref() { Py_XDECREF(object_); }

  static Ref of(PyObject* borrowed) { return Ref(Py_XNewRef(borrowed)); }

  explicit operator bool() const { return object_ != nullptr; }
  PyObject* get() const { return object_; }
  PyObject* release() {
    PyObject* object = object_;
    object_ = nullptr;
    return object;
  }

 private:
  PyObject* object_ = nullptr;
};

// errors.cpp. report: a failure of the guest's own (`code` is a deploy::ErrorCode). report_exception: the current Python exception,
// which is cleared.
void report(deploy_error* error, int32_t code, std::string_view message);
void report_exception(deploy_error* error);

// What the other files keep for the life of the interpreter (types, interned names). Called with the GIL at the end of boot, and
// before Python is finalised. prepare() returns false with a Python exception set. objects.cpp.
bool prepare();
void drop();

// stdlib.cpp: the archive of the standard library. `archive` outlives Python. install_stdlib comes before Py_Initialize: it says
// which modules CPython itself needs before any finder can be there, and makes the module _deploy_image; it returns null, or what
// is wrong with the archive. run_startup comes after: it runs _deploy.startup, which puts the finder in place, and returns false
// with a Python exception set.
const char* install_stdlib(std::string_view archive);
bool run_startup(const deploy_boot& boot);

// subinterpreters.cpp. After boot: a sub-interpreter that Python code makes has the standard library. Before Python's end: ends
// those that are left, because CPython ends the process where there are any.
void enable_subinterpreters();
void end_subinterpreters();

// bytecode.cpp: before Python is initialised. Makes the module _deploy_bytecode; false: out of memory.
bool install_bytecode();
// thread_start.cpp. Before Python is initialised: makes the module _deploy_threads. False: out of memory.
bool install_thread_start();

// interrupts.cpp: for prepare() and drop().
bool prepare_interrupts();
void drop_interrupts();

// interrupts.cpp: lets other threads have the GIL, and raises what one of them made this thread raise. For C++ code that goes on
// for long, once in every kBreath steps. False with an exception set.
inline constexpr std::size_t kBreath = 4096;
bool breathe();

// grad_mode.cpp: for drop().
void drop_grad_mode();

// boot.cpp: before boot.
void use_host_memory(const deploy_host& host);

// cxx_runtime.cpp: before boot, too. Where `operator new` turns when malloc gives nothing.
void use_reserve(void* (*allocate)(std::size_t size));

// raw_memory.cpp: before boot, too. What Python leaves behind is freed when the image is unloaded.
void use_tracked_raw_memory();

// output.cpp. use_host_output: before boot. install_output: before Python is initialised; makes the module _deploy_output where the
// host takes the output; null, or what went wrong. finish_output: after Python's end.
void use_host_output(const deploy_host& host);
const char* install_output();
void finish_output();

// The functions of the table, in its order.
int boot(const deploy_boot* boot, deploy_error* error);                           // boot.cpp
int shutdown(deploy_error* error);                                                // boot.cpp
deploy_thread thread_attach(deploy_thread thread);                                // boot.cpp
void thread_detach(deploy_thread thread);                                         // boot.cpp
void thread_dispose(deploy_thread thread);                                        // boot.cpp
void interrupt(deploy_thread thread);                                             // interrupts.cpp
int take_back_interrupt(deploy_thread thread);                                    // interrupts.cpp
void freeze();                                                                    // collector.cpp
deploy_object import_module(deploy_text name, deploy_error* error);               // modules.cpp
deploy_object global(deploy_text module, deploy_text name, deploy_error* error);  // modules.cpp
deploy_object from_value(const deploy_value* value, deploy_error* error);         // values.cpp
deploy_object attr(deploy_object object, deploy_text name, deploy_error* error);  // objects.cpp
int hasattr(deploy_object object, deploy_text name, deploy_error* error);         // objects.cpp
void release(deploy_object object);                                               // objects.cpp
deploy_object call(deploy_object object, deploy_text method, const deploy_value* arguments, size_t count,
                   const deploy_text* keywords, size_t keyword_count, deploy_error* error);  // objects.cpp
int call_value(deploy_object object, deploy_text method, const deploy_value* arguments, size_t count, const deploy_text* keywords,
               size_t keyword_count, deploy_sink* sink, deploy_error* error);     // objects.cpp
int enter_grad_mode(uint32_t mode, deploy_object* entered, deploy_error* error);  // grad_mode.cpp
void leave_grad_mode(deploy_object entered);                                      // grad_mode.cpp
int to_value(deploy_object object, deploy_sink* sink, deploy_error* error);       // values.cpp
int type_name(deploy_object object, deploy_sink* sink, deploy_error* error);      // objects.cpp
int str(deploy_object object, deploy_sink* sink, deploy_error* error);            // objects.cpp
int register_module(deploy_text name, deploy_text source, deploy_error* error);   // modules.cpp

}  // namespace deploy::guest
