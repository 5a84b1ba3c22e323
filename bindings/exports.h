#pragma once

#include <nanobind/nanobind.h>

namespace deploy::bindings {

namespace nb = nanobind;

// One function a topic; module.cpp calls them in this order.
void export_errors(nb::module_& m);
void export_exit(nb::module_& m);
void export_environment(nb::module_& m);
void export_tensor(nb::module_& m);
void export_object(nb::module_& m);
void export_memory(nb::module_& m);
void export_interpreter(nb::module_& m);
void export_session(nb::module_& m);
void export_package(nb::module_& m);
void export_manager(nb::module_& m);
void export_files(nb::module_& m);
void export_reader(nb::module_& m);

}  // namespace deploy::bindings
