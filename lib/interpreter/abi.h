#pragma once

// The one border between host and guest (D3). The host is libdeploy in the process's own link namespace; the guest is the code of
// lib/interpreter/guest/, compiled into the image and loaded once for each interpreter. They share no C++ type, no exception,
// no libstdc++ and no Python header: only the C structures below. The guest exports one symbol, deploy_guest_entry.
//
// Rules. Pointers to text are UTF-8 with a length, valid only during the call. A function that can fail returns null or a negative
// number, having called error->report exactly once; on success it never calls it. Unless its comment says otherwise a
// function must be called on a thread that holds the interpreter (between thread_attach and thread_detach).

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DEPLOY_ABI_VERSION 6u

struct DLManagedTensorVersioned;

typedef struct deploy_object_t* deploy_object;  // one strong reference to a PyObject
typedef struct deploy_thread_t* deploy_thread;  // a PyThreadState

typedef struct deploy_text {
  const char* data;
  size_t size;
} deploy_text;

// Where a failing function puts its error. `code` is a deploy::ErrorCode.
typedef struct deploy_error {
  void (*report)(struct deploy_error* self, int32_t code, deploy_text message, deploy_text python_type, deploy_text traceback);
} deploy_error;

// Host to guest: a tree of values that the host owns; the guest reads it during the call. It may be of any depth.
typedef enum deploy_kind {
  DEPLOY_NONE,
  DEPLOY_BOOL,
  DEPLOY_INT,
  DEPLOY_FLOAT,
  DEPLOY_COMPLEX,
  DEPLOY_STR,
  DEPLOY_BYTES,
  DEPLOY_LIST,
  DEPLOY_TUPLE,
  DEPLOY_DICT,
  DEPLOY_TENSOR,
  DEPLOY_OBJECT
} deploy_kind;

// The library whose kind of array a tensor is to be, or was, in Python; the numbers of deploy::TensorLibrary.
typedef enum deploy_library { DEPLOY_ANY_LIBRARY, DEPLOY_TORCH, DEPLOY_NUMPY } deploy_library;

typedef struct deploy_value {
  uint32_t kind;     // a deploy_kind
  uint32_t library;  // of a tensor: a deploy_library
  union {
    int64_t integer;  // and bool
    double real;
    double complex_parts[2];
    deploy_text text;  // str (UTF-8) and bytes
    struct {
      const struct deploy_value* items;  // a dict: key, value, key, value, ...
      size_t size;                       // of the array `items`
    } sequence;
    struct DLManagedTensorVersioned* tensor;  // the guest takes ownership of each tensor it was given, also when it fails
    deploy_object object;                     // borrowed
    const void* source;                       // the host's own, until it has set `kind`
  } as;
} deploy_value;

// Guest to host: the guest walks an object and says what it sees, depth first; containers say their length first (a dict: its
// number of pairs, then key, value, key, value ...). The host builds its own tree. A walk that fails half-way is reported by the
// function that was called, and the host drops what it has. The numbers say what the host takes: the walk fails where there is
// more.
typedef struct deploy_sink {
  void (*on_none)(struct deploy_sink* self);
  void (*on_bool)(struct deploy_sink* self, int value);
  void (*on_int)(struct deploy_sink* self, int64_t value);
  void (*on_float)(struct deploy_sink* self, double value);
  void (*on_complex)(struct deploy_sink* self, double real, double imaginary);
  void (*on_str)(struct deploy_sink* self, deploy_text utf8);
  void (*on_bytes)(struct deploy_sink* self, deploy_text bytes);
  void (*on_sequence)(struct deploy_sink* self, uint32_t kind, size_t size);  // LIST, TUPLE or DICT
  // The host takes ownership of the tensor; `library` is a deploy_library.
  void (*on_tensor)(struct deploy_sink* self, struct DLManagedTensorVersioned* tensor, uint32_t library);
  // Null, or takes what no other function does, in place of a failure: the host owns the reference. `type`: its type's qualified
  // name.
  void (*on_object)(struct deploy_sink* self, deploy_object object, deploy_text type);
  size_t max_depth;  // of containers inside each other
  size_t max_items;  // of all containers together; of a dict, keys and values
  size_t max_bytes;  // of str and bytes, and `item_bytes` for each item
  size_t item_bytes;
  int has_failed;  // set by the host during the walk, which fails at its next step; the host knows the reason
} deploy_sink;

// PyTorch's grad mode for a call.
typedef enum deploy_grad_mode { DEPLOY_NO_GRAD, DEPLOY_INFERENCE_MODE, DEPLOY_ENABLE_GRAD } deploy_grad_mode;

// What boot needs. All borrowed for the time of the call.
typedef struct deploy_boot {
  deploy_text stdlib;        // the image's archive of the standard library, see lib/interpreter/image/; outlives the guest
  const deploy_text* paths;  // sys.path, in order
  size_t path_count;
  uint64_t interpreter_id;
  deploy_text dynload;   // folder of the standard extension modules; empty: "<image>/lib-dynload"
  int deferred_imports;  // whether python/deferred.py has its way
  size_t first_site;     // index of the first of `paths` that is a site-packages folder, whose .pth files are read
} deploy_boot;

// What the guest may ask of the host. Lives as long as the guest.
typedef struct deploy_host {
  uint32_t abi_version;
  uint32_t size;  // sizeof(deploy_host)
  void* context;
  // Memory for Python's small objects, in large pieces. Python ends with objects that it never frees; the host frees what is left
  // when the interpreter is gone. Any thread; null where there is no memory. Both null: Python asks the system itself.
  void* (*allocate_arena)(void* context, size_t size);
  void (*free_arena)(void* context, void* arena, size_t size);
  // Memory of the process, beyond the interpreter's limit, for the guest's own few needs: an interpreter whose heap is full raises
  // MemoryError and goes on. It is freed by free(). Null where there is none. Any thread.
  void* (*allocate_reserve)(size_t size);
  // While there are more beginnings than ends, the interpreter's limit does not hold: for steps that CPython does not survive
  // half-way. Any thread.
  void (*exempt)(void* context, int begin);
  // Whether all that malloc gives goes with the interpreter; otherwise the guest frees what Python leaves behind.
  int has_private_heap;
  // Takes a line of Python's standard output (stream 1) or error (2), without its line end; `complete` is 0 where there was none.
  // Any thread, without the GIL; between boot's start and shutdown's end. Null: Python writes to the process's own streams.
  void (*write_line)(void* output_context, int32_t stream, deploy_text line, int complete);
  void* output_context;
} deploy_host;

typedef struct deploy_guest {
  uint32_t abi_version;
  uint32_t size;               // sizeof(deploy_guest)
  const char* python_version;  // "3.11.2"

  // Initialises Python on the calling thread, which becomes Python's main thread, and releases the GIL. Once. Returns 0 or -1.
  int (*boot)(const deploy_boot* boot, deploy_error* error);
  // Runs atexit handlers and finalises Python, on the thread that called boot, with no other thread attached. Once. Returns 0, or
  // -1 where Py_FinalizeEx reported an error; Python is finalised in both cases.
  int (*shutdown)(deploy_error* error);

  // Takes the GIL with `thread`, or with a new thread state where null; returns the state. Any thread. Null: out of memory.
  deploy_thread (*thread_attach)(deploy_thread thread);
  // Releases the GIL; `thread` stays and may be attached again, by the same operating-system thread only.
  void (*thread_detach)(deploy_thread thread);
  // Deletes the state of a thread that has ended or will not attach it again; not the attached one.
  void (*thread_dispose)(deploy_thread thread);
  // Makes `thread`, another one that is in a call, raise deploy.Interrupted (a KeyboardInterrupt) at its next byte code.
  void (*interrupt)(deploy_thread thread);
  // On `thread` itself, outside of all calls: takes back what interrupt did, if nothing was raised yet. Returns whether that was
  // so.
  int (*take_back_interrupt)(deploy_thread thread);

  // What Python has made so far stays: its garbage collector never looks at it again. After the preload.
  void (*freeze)(void);

  // References. import: a module; global: an attribute of a module, imported if need be (dots in `name` are followed).
  deploy_object (*import_module)(deploy_text name, deploy_error* error);
  deploy_object (*global)(deploy_text module, deploy_text name, deploy_error* error);
  deploy_object (*from_value)(const deploy_value* value, deploy_error* error);
  deploy_object (*attr)(deploy_object object, deploy_text name, deploy_error* error);
  int (*hasattr)(deploy_object object, deploy_text name, deploy_error* error);  // 1, 0, or -1
  void (*release)(deploy_object object);

  // Calls `object`, or where `method` has data its method of that name. The last `keyword_count` of the `count` arguments are
  // keyword arguments named by `keywords`. call_value hands the result to `sink` and returns 0, or -1.
  deploy_object (*call)(deploy_object object, deploy_text method, const deploy_value* arguments, size_t count,
                        const deploy_text* keywords, size_t keyword_count, deploy_error* error);
  int (*call_value)(deploy_object object, deploy_text method, const deploy_value* arguments, size_t count,
                    const deploy_text* keywords, size_t keyword_count, deploy_sink* sink, deploy_error* error);

  // Puts the thread into a deploy_grad_mode, for the calls until leave_grad_mode, and returns 0, or -1. `entered` is for that
  // function, which has to follow; null where torch is not loaded, or on failure: then it must not.
  int (*enter_grad_mode)(uint32_t mode, deploy_object* entered, deploy_error* error);
  void (*leave_grad_mode)(deploy_object entered);

  int (*to_value)(deploy_object object, deploy_sink* sink, deploy_error* error);
  // The type's qualified name ("torch.Tensor"; builtins without their module), and str(object): on_str of the sink.
  int (*type_name)(deploy_object object, deploy_sink* sink, deploy_error* error);
  int (*str)(deploy_object object, deploy_sink* sink, deploy_error* error);

  // Makes `source` importable as `name`; a name registered before is replaced unless it is already imported.
  int (*register_module)(deploy_text name, deploy_text source, deploy_error* error);
} deploy_guest;

typedef const deploy_guest* (*deploy_guest_entry_fn)(const deploy_host* host);

#ifdef __cplusplus
}
#endif
