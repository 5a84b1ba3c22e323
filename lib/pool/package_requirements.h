#pragma once

#include "lib/interpreter/session_core.h"
#include "lib/pool/package_core.h"
#include "lib/support/result.h"

namespace deploy::detail {

// Whether the interpreters have what the package needs: the Python version, modules, versions of distributions; and may give it to
// the package. All that is not so in one failure: kMissingExtern, or kUntrusted where it is only that modules are not allowed.
// Imports nothing of the package.
Result<void> check_requirements(const PackageContent& content, const Environment& environment, SessionCore& session);

// The names in the package's list of externs.
Result<std::vector<std::string>> extern_modules(const PackageFile& file);

// Lists of text for the guest.
Value text_list(const std::vector<std::string>& texts);

}  // namespace deploy::detail
