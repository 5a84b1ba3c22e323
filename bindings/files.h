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

// The manifest as json.loads() gives it, or None.
nb::object to_dict(const std::optional<Manifest>& manifest);

}  // namespace deploy::bindings
