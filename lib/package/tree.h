#pragma once

#include <string>
#include <vector>

#include "lib/package/archive.h"
#include "lib/package/manifest_record.h"
#include "lib/support/result.h"

namespace deploy {

// A part of a package's code that stands for itself: a distribution that travels in it, or all of its own modules. Packages in
// which it is the same, byte for byte, have the same unit: one folder in the cache, and in an interpreter one set of modules.
struct TreeUnit {
  std::string key;                // the digest of the records' names and contents, in hexadecimal digits
  std::vector<std::string> tops;  // the top-level names that can be imported from it
  std::vector<const Record*> records;
};

// The records of a package that lie in folders as they would in site-packages: all but .data/ and the pickles that its manifest
// names. Distributions that share a top-level name (a namespace package) are one unit. The units point into `archive`.
// kInvalidPackage.
Result<std::vector<TreeUnit>> plan_tree(const Archive& archive, const PackageManifest& manifest, const std::string& path);

}  // namespace deploy
