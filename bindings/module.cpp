#include "bindings/exports.h"

NB_MODULE(_deploy, m) {
  using namespace deploy::bindings;
  m.doc() = "The extension module under the package deploy; import deploy instead.";
  // Managers often live in module globals, which Python clears late or not at all; exit.h says what happens to them.
  nb::set_leak_warnings(false);
  export_errors(m);
  export_exit(m);
  export_environment(m);
  export_tensor(m);
  export_object(m);
  export_memory(m);
  export_interpreter(m);
  export_session(m);
  export_package(m);
  export_manager(m);
  export_files(m);
  export_reader(m);
}
