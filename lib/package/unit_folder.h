#pragma once

#include <string>

#include "lib/package/package_file.h"
#include "lib/package/tree.h"
#include "lib/support/result.h"

// The files of one unit in its folder, which is given by its descriptor. See tree_cache.h.

namespace deploy {

// Writes all of them into an empty folder.
Result<void> write_unit(const PackageFile& file, const TreeUnit& unit, int folder);

// Replaces those that are not as they were written. They are written to a new file in `scratch` first, and renamed. For a verified
// package what else is in the folder is removed.
Result<void> repair_unit(const PackageFile& file, const TreeUnit& unit, int folder, int scratch);

}  // namespace deploy
