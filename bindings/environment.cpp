#include "bindings/environment.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "bindings/exports.h"
#include "bindings/output.h"
#include "deploy/error.h"

namespace deploy::bindings {

namespace {

std::vector<std::string> paths(nb::handle list) {
  std::vector<std::string> result;
  for (nb::handle path : list) result.push_back(to_path(path));
  return result;
}

}  // namespace

std::string to_path(nb::handle path) {
  PyObject* bytes = nullptr;
  if (!PyUnicode_FSConverter(path.ptr(), &bytes)) throw nb::python_error();
  nb::object owner = nb::steal(bytes);
  return {PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))};
}

Environment to_environment(nb::handle environment) {
  nb::object type = nb::module_::import_("deploy").attr("Environment");
  nb::object source = environment.is_none() ? type.attr("from_running_python")() : nb::borrow(environment);
  if (!nb::isinstance(source, type)) {
    throw Error(ErrorCode::kInvalidArgument,
                "environment: found " + nb::cast<std::string>(nb::repr(source)) + ", expected a deploy.Environment or None");
  }
  Environment result;
  result.site_packages = paths(source.attr("site_packages"));
  result.extra_paths = paths(source.attr("extra_paths"));
  result.private_libraries = nb::cast<std::vector<std::string>>(source.attr("private_libraries"));
  result.shared_libraries = nb::cast<std::vector<std::string>>(source.attr("shared_libraries"));
  result.preload = nb::cast<std::vector<std::string>>(source.attr("preload"));
  result.memory_limit = nb::cast<std::size_t>(source.attr("memory_limit"));
  result.deferred_imports = nb::cast<bool>(source.attr("deferred_imports"));
  result.on_output = to_output_callback(source.attr("on_output"));
  result.cache_dir = source.attr("cache_dir").is_none() ? std::string() : to_path(source.attr("cache_dir"));
  if (nb::object allowed = source.attr("allowed_externs"); !allowed.is_none()) {
    result.allowed_externs = nb::cast<std::vector<std::string>>(allowed);
  }
  return result;
}

void export_environment(nb::module_& m) {
  m.def("python_version", &python_version,
        "\"3.11\": the version of the Python inside the interpreters, and so of the packages that an Environment may name.");
  m.def(
      "_venv_site_packages", [](nb::object path) { return Environment::from_venv(to_path(path)).site_packages; }, nb::arg("path"));
}

}  // namespace deploy::bindings
