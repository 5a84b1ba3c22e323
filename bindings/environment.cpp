#include "bindings/environment.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings/exports.h"
#include "bindings/output.h"
#include "bindings/text.h"
#include "deploy/error.h"

namespace deploy::bindings {

namespace {

GradMode to_grad_mode(nb::handle name) {
  const std::string_view found = to_utf8(name, "grad_mode");
  for (const GradMode mode : {GradMode::kNoGrad, GradMode::kInferenceMode, GradMode::kEnableGrad}) {
    if (found == to_string(mode)) return mode;
  }
  throw Error(ErrorCode::kInvalidArgument,
              "grad_mode: found " + short_repr(name) + ", expected 'no_grad', 'inference_mode', 'enable_grad' or None");
}

ValueLimits to_value_limits(nb::handle limits) {
  if (!nb::isinstance(limits, nb::module_::import_("deploy").attr("ValueLimits"))) {
    throw Error(ErrorCode::kInvalidArgument, "value_limits: found " + short_repr(limits) + ", expected a deploy.ValueLimits");
  }
  return {.depth = to_size(limits.attr("depth"), "value_limits.depth"),
          .items = to_size(limits.attr("items"), "value_limits.items"),
          .bytes = to_size(limits.attr("bytes"), "value_limits.bytes")};
}

}  // namespace

Environment to_environment(nb::handle environment) {
  nb::object type = nb::module_::import_("deploy").attr("Environment");
  nb::object source = environment.is_none() ? type.attr("from_running_python")() : nb::borrow(environment);
  if (!nb::isinstance(source, type)) {
    throw Error(ErrorCode::kInvalidArgument,
                "environment: found " + short_repr(source) + ", expected a deploy.Environment or None");
  }
  Environment result;
  result.site_packages = to_paths(source.attr("site_packages"), "site_packages");
  result.extra_paths = to_paths(source.attr("extra_paths"), "extra_paths");
  result.private_libraries = to_texts(source.attr("private_libraries"), "private_libraries");
  result.shared_libraries = to_texts(source.attr("shared_libraries"), "shared_libraries");
  result.preload = to_texts(source.attr("preload"), "preload");
  result.memory_limit = to_size(source.attr("memory_limit"), "memory_limit");
  result.deferred_imports = to_bool(source.attr("deferred_imports"), "deferred_imports");
  result.on_output = to_output_callback(source.attr("on_output"));
  if (nb::object folder = source.attr("cache_dir"); !folder.is_none()) result.cache_dir = to_path(folder, "cache_dir");
  if (nb::object allowed = source.attr("allowed_externs"); !allowed.is_none()) {
    result.allowed_externs = to_texts(allowed, "allowed_externs");
  }
  if (nb::object mode = source.attr("grad_mode"); !mode.is_none()) result.grad_mode = to_grad_mode(mode);
  result.value_limits = to_value_limits(source.attr("value_limits"));
  return result;
}

void export_environment(nb::module_& m) {
  m.def("python_version", &python_version,
        "\"3.11\": the version of the Python inside the interpreters, and so of the packages that an Environment may name.");
  m.def(
      "_venv_site_packages",
      [](nb::object path) {
        nb::list folders;
        for (const std::string& folder : Environment::from_venv(to_path(path)).site_packages) {
          folders.append(nb::steal(PyUnicode_DecodeFSDefaultAndSize(folder.data(), static_cast<Py_ssize_t>(folder.size()))));
        }
        return folders;
      },
      nb::arg("path"));
}

}  // namespace deploy::bindings
