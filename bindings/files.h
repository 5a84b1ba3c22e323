#pragma once

#include <nanobind/nanobind.h>

#include <optional>
#include <string>
#include <vector>

#include "deploy/manifest.h"

namespace deploy::bindings {

namespace nb = nanobind;

// Keys as paths or PEM texts: an iterable of str and os.PathLike.
std::vector<std::string> to_keys(nb::handle keys);

// The manifest as json.loads() gives it; None for null. `path` is for messages only. Throws kInvalidPackage where Python cannot
// have it: JSON may be nested more deeply than Python's reader goes.
nb::object to_dict(const Manifest* manifest, const std::string& path);

}  // namespace deploy::bindings
