#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "deploy/export.h"
#include "deploy/grad_mode.h"
#include "deploy/output.h"
#include "deploy/value_limits.h"

namespace deploy {

// What the interpreters of one manager see of the machine: third-party packages and settings. A plain value; the folders
// are checked when interpreters are created (kEnvironment: a missing folder, or packages of another Python version).
struct DEPLOY_API Environment {
  // Folders of installed packages, in sys.path order. The standard library comes from the image, never from here. Their .pth files
  // are read: folders that these name come behind all others on sys.path, and editable installations work. Other code that a
  // .pth file has is not executed (docs/python-inside.md).
  std::vector<std::string> site_packages = {};

  // Put in front of site_packages on sys.path, for plain source folders. Not checked for a Python version.
  std::vector<std::string> extra_paths = {};

  // Libraries that are private to an interpreter although their file does not show it (file-name patterns with * and ?),
  // beside libc10*, libtorch*, libshm*, the C++ run-time libraries, and what lies in the folders above. See docs/architecture.md.
  std::vector<std::string> private_libraries = {};

  // Libraries (patterns likewise) in the folders above that all interpreters and the host have in common, beside OpenBLAS, MKL, and
  // the run-time libraries of OpenMP and Fortran: a large C library, or one whose state is meant for the whole process. What it
  // keeps of one interpreter (a callback, a type), others see, and it dangles when that interpreter ends. A library that uses
  // Python or libtorch, itself or through one that it needs, stays private, and so does one that private_libraries names too.
  std::vector<std::string> shared_libraries = {};

  // Modules imported in every interpreter before it takes its first call, in order ("torch").
  std::vector<std::string> preload = {};

  // Imports the parts of PyTorch that inference seldom uses (its compiler side, Meta kernels written in Python, data loading,
  // quantisation, optimisers, distributions) when they are first used instead of with `import torch`, which then takes about half
  // of the time and three quarters of the memory. They work as always; whoever uses one first waits for its import (0.3 s for the
  // compiler side). Other packages, and versions of PyTorch that are not known, are imported as without it.
  bool deferred_imports = false;

  // Gets what Python code writes to sys.stdout and sys.stderr, line by line (deploy/output.h); empty: the process's own streams get
  // it. Kept until the last interpreter that was made with it is gone.
  OutputCallback on_output = {};

  // Where the code of packages is unpacked (see LoadOptions). Empty: $XDG_CACHE_HOME/deploy, or ~/.cache/deploy. Made where it does
  // not exist. It and every folder above it have to belong to root or to this user, and nobody else may be able to write in one of
  // them, unless it is sticky as /tmp is (kEnvironment, see docs/packages.md); symbolic links on the way are resolved first, and
  // have to be root's or this user's. May be shared by any number of processes, and removed while none runs.
  std::string cache_dir = {};

  // Which modules a package may take from this environment; nullopt: all. Patterns (* and ?) of dotted names, each standing for
  // the modules below it too: "torch", "scipy.special". The standard library is allowed, apart from what "!" in front of a pattern
  // takes out: {"numpy", "!subprocess", "!ctypes"}. A guard rail against surprises, not a sandbox: load_package checks what the
  // package declares, and each import statement, __import__ and pickled reference of the package's own code is checked when
  // it runs (ImportError, naming module and package). What allowed modules import themselves is not, and code that wants to get
  // around it can.
  std::optional<std::vector<std::string>> allowed_externs = {};
  // How many bytes an interpreter's heap may hold; 0: no limit. What Python, its extension modules and torch allocate counts
  // (Interpreter::memory()), and so does what a bare Python (4 MB) or `import torch` (130 MB) needs; mapped files, packages'
  // weights among them, do not. A large block takes whole pages. A limited heap gives freed memory back to
  // the system at once, which makes large tensors that come and go slower. Beyond it Python code gets a MemoryError, torch its own
  // RuntimeError, in that interpreter alone, which goes on. Without a private heap (see there) it bounds Python's small objects
  // only.
  std::size_t memory_limit = 0;

  // The grad mode of PyTorch for calls of replicated objects, and of Objects that a session got from one, where torch is loaded.
  // nullopt: what the object's package was written with (GradMode::kNoGrad unless `save` was told otherwise). The results are
  // equal; what is not recorded for gradients takes less time and memory. Each call leaves its thread as it was. What a session
  // gets by name (global, import_module) is plain Python, in which gradients are recorded unless the code says otherwise.
  std::optional<GradMode> grad_mode = {};

  // How much may cross in one call (see there).
  ValueLimits value_limits = {};

  // The packages of a virtual environment: <path>/lib/python<X.Y>/site-packages of this library's Python version.
  // Throws kEnvironment, with what was found, where there is none.
  static Environment from_venv(const std::string& path);

  // Standard library only.
  static Environment bare() { return {}; }
};

// "3.11": the version of the Python inside, and so of the packages that an Environment may name.
DEPLOY_API const char* python_version() noexcept;

}  // namespace deploy
