#pragma once

#include <string>
#include <utility>
#include <vector>

#include "deploy/export.h"
#include "deploy/output.h"

namespace deploy {

// What the interpreters of one manager see of the machine: third-party packages and settings. A plain value; the folders
// are checked when interpreters are created (kEnvironment: a missing folder, or packages of another Python version).
struct DEPLOY_API Environment {
  // Folders of installed packages, in sys.path order. The standard library comes from the image, never from here.
  std::vector<std::string> site_packages = {};

  // Put in front of site_packages on sys.path, for plain source folders. Not checked for a Python version.
  std::vector<std::string> extra_paths = {};

  // Libraries that are private to an interpreter although their file does not show it (file-name patterns with * and ?),
  // beside libc10*, libtorch*, libshm* and the C++ run-time libraries. See docs/architecture.md.
  std::vector<std::string> private_libraries = {};

  // Modules imported in every interpreter before it takes its first call, in order ("torch").
  std::vector<std::string> preload = {};

  // Gets what Python code writes to sys.stdout and sys.stderr, line by line (deploy/output.h); empty: the process's own streams get
  // it. Kept until the last interpreter that was made with it is gone.
  OutputCallback on_output = {};

  // The packages of a virtual environment: <path>/lib/python<X.Y>/site-packages of this library's Python version.
  // Throws kEnvironment, with what was found, where there is none.
  static Environment from_venv(const std::string& path);

  // Standard library only.
  static Environment bare() { return {}; }
};

// "3.11": the version of the Python inside, and so of the packages that an Environment may name.
DEPLOY_API const char* python_version() noexcept;

}  // namespace deploy
