// Initialises and finalises the embedded CPython.
//
// The interpreter is isolated from the process and the machine: it reads no environment variable and no file, leaves the locale,
// the signal handlers and C's stdio alone, and takes the standard library out of the image. CPython's own search for its home
// (getpath) is given every answer beforehand; what describes the environment (sys.path, sys.prefix) is set afterwards by
// python/startup.py.

#include <csignal>
#include <cstdio>
#include <cstring>

#include "deploy/error.h"
#include "lib/interpreter/guest/collector.h"

// What Python's own main program calls at its end, and Py_FinalizeEx leaves out; a shared libpython does not export them.
extern "C" {
__attribute__((weak)) void _PyImport_Fini2();            // the table of built-in modules
__attribute__((weak)) void _PyPathConfig_ClearGlobal();  // the program's paths
}

namespace deploy::guest {
namespace {

// The state that boot made, of Python's main thread. Written once, before any other thread may call.
PyThreadState* main_state = nullptr;
unsigned long main_thread = 0;

// For its life the interpreter's limit of memory does not hold.
class Exemption {
 public:
  Exemption() {
    if (exempt) exempt(exempt_context, 1);
  }
  ~Exemption() {
    if (exempt) exempt(exempt_context, 0);
  }
  Exemption(const Exemption&) = delete;
  Exemption& operator=(const Exemption&) = delete;

  static void (*exempt)(void* context, int begin);
  static void* exempt_context;
};
void (*Exemption::exempt)(void*, int) = nullptr;
void* Exemption::exempt_context = nullptr;

// A PyConfig that frees itself.
struct Config : PyConfig {
  Config() { PyConfig_InitIsolatedConfig(this); }
  ~Config() { PyConfig_Clear(this); }
  Config(const Config&) = delete;
  Config& operator=(const Config&) = delete;
};

PyStatus preinitialize() {
  PyPreConfig config;
  PyPreConfig_InitIsolatedConfig(&config);
  config.utf8_mode = 1;
  config.coerce_c_locale = 0;
  config.configure_locale = 0;
  return Py_PreInitialize(&config);
}

PyStatus initialize() {
  Config config;
  config.site_import = 0;
  config.install_signal_handlers = 0;
  config.parse_argv = 0;
  config.pathconfig_warnings = 0;
  config.use_frozen_modules = 1;
  config.module_search_paths_set = 1;  // to none: nothing is imported from files before startup.py

  constexpr const char* kImage = "<image>";
  constexpr const char* kStdlib = "<image>/python" Py_STRINGIFY(PY_MAJOR_VERSION) "." Py_STRINGIFY(PY_MINOR_VERSION);
  const struct {
    wchar_t** field;
    const char* value;
  } paths[] = {
      // A name with a slash is taken as it is; any other would be searched for along PATH.
      {&config.program_name, "<image>/python"},
      {&config.executable, "<image>/python"},
      {&config.base_executable, "<image>/python"},
      {&config.prefix, kImage},
      {&config.base_prefix, kImage},
      {&config.exec_prefix, kImage},
      {&config.base_exec_prefix, kImage},
      {&config.stdlib_dir, kStdlib},
  };
  for (const auto& path : paths) {
    PyStatus status = PyConfig_SetBytesString(&config, path.field, path.value);
    if (PyStatus_Exception(status)) return status;
  }
  return Py_InitializeFromConfig(&config);
}

// The module _signal takes SIGINT over when it is imported, and sets what it took over to its default when Python ends: that would
// be the host's. It is imported here, and made to let go of SIGINT at once; code that asks for a signal by signal.signal still gets
// it.
bool import_signal_module() {
  struct sigaction before;
  if (sigaction(SIGINT, nullptr, &before) != 0) return true;
  Ref module(PyImport_ImportModule("_signal"));
  struct sigaction after;
  if (!module || sigaction(SIGINT, nullptr, &after) != 0 || after.sa_handler == before.sa_handler) return static_cast<bool>(module);
  Ref old(PyObject_CallMethod(module.get(), "signal", "ii", SIGINT, 0));  // SIG_DFL
  sigaction(SIGINT, &before, nullptr);
  return static_cast<bool>(old);
}

// Without Python's help, which is not there yet or no longer.
int fail(deploy_error* error, ErrorCode code, const char* what, const char* why) {
  char message[512];
  std::snprintf(message, sizeof message, "%s: %s", what, why);
  report(error, static_cast<int32_t>(code), message);
  return -1;
}

// Of a reason in words, ours or CPython's.
ErrorCode code_of(const char* reason) { return std::strstr(reason, "memory") ? ErrorCode::kSystem : ErrorCode::kInternal; }

// CPython 3.11 follows the null pointer that stands for a thread state it has no memory for. So what it will ask for is asked for
// first, and is free again when it does.
bool has_room_for_thread_state() {
  void* room[] = {PyMem_RawMalloc(sizeof(PyThreadState)), PyMem_RawMalloc(4 * sizeof(PyThreadState))};
  for (void* block : room) PyMem_RawFree(block);
  return room[0] != nullptr && room[1] != nullptr;
}

}  // namespace

void use_host_memory(const deploy_host& host) {
  use_reserve(host.allocate_reserve);
  Exemption::exempt = host.exempt;
  Exemption::exempt_context = host.context;
  if (!host.allocate_arena || !host.free_arena) return;
  PyObjectArenaAllocator allocator = {host.context, host.allocate_arena, host.free_arena};
  PyObject_SetArenaAllocator(&allocator);
  if (!host.has_private_heap) use_tracked_raw_memory();
}

int boot(const deploy_boot* boot, deploy_error* error) {
  if (const char* problem = install_stdlib(view(boot->stdlib))) {
    return fail(error, code_of(problem), "the image's archive of the standard library", problem);
  }
  if (const char* problem = install_output()) return fail(error, code_of(problem), "the module _deploy_output", problem);
  if (!install_bytecode()) return fail(error, ErrorCode::kSystem, "the module _deploy_bytecode", "out of memory");
  if (!install_thread_start()) return fail(error, ErrorCode::kSystem, "the module _deploy_threads", "out of memory");
  PyStatus status = preinitialize();
  if (!PyStatus_Exception(status)) status = initialize();
  if (PyStatus_Exception(status)) {
    const char* reason = status.err_msg ? status.err_msg : "it gives no reason";
    return fail(error, code_of(reason), "Python did not start", reason);
  }
  main_state = PyThreadState_Get();
  main_thread = PyThread_get_thread_ident();
  const bool started = import_signal_module() && run_startup(*boot) && prepare();
  if (!started) report_exception(error);
  enable_subinterpreters();
  PyEval_SaveThread();
  return started ? 0 : -1;
}

int shutdown(deploy_error* error) {
  const Exemption exemption;  // what it needs to free memory
  PyEval_RestoreThread(main_state);
  unfreeze();
  drop();
  end_subinterpreters();
  const int failed = Py_FinalizeEx();
  finish_output();
  if (_PyImport_Fini2) _PyImport_Fini2();
  if (_PyPathConfig_ClearGlobal) _PyPathConfig_ClearGlobal();
  if (failed == 0) return 0;
  return fail(error, ErrorCode::kPython, "Python's end", "sys.stdout or sys.stderr could not be written out");
}

deploy_thread thread_attach(deploy_thread thread) {
  auto* state = reinterpret_cast<PyThreadState*>(thread);
  if (state == nullptr && PyThread_get_thread_ident() == main_thread) state = main_state;
  // Also makes it the state that PyGILState_Ensure finds on this thread.
  if (state == nullptr) {
    const Exemption exemption;  // a new state that cannot be allocated is a null pointer that CPython 3.11 follows
    if (has_room_for_thread_state()) state = PyThreadState_New(PyInterpreterState_Main());
  }
  if (state == nullptr) return nullptr;
  PyEval_RestoreThread(state);
  return reinterpret_cast<deploy_thread>(state);
}

void thread_detach(deploy_thread) { PyEval_SaveThread(); }

void thread_dispose(deploy_thread thread) {
  auto* state = reinterpret_cast<PyThreadState*>(thread);
  if (state == main_state) return;
  PyThreadState_Clear(state);
#if PY_VERSION_HEX >= 0x030C0000
  // PyThreadState_Delete of another thread's state takes the calling thread's own away from PyGILState_Ensure (it clears the
  // caller's key for whoever's state it deletes), which would then make a second one. The other thread's key has gone with it.
  if (PyGILState_GetThisThreadState() != state) state->_status.bound_gilstate = 0;
#endif
  PyThreadState_Delete(state);
}

}  // namespace deploy::guest
