#pragma once

#include <string>

#include "lib/package/package_file.h"
#include "lib/package/tree.h"
#include "lib/support/file.h"
#include "lib/support/result.h"

namespace deploy {

// A unit's folder, and the hold on it: as long as that lasts nobody removes the folder for want of use.
struct UnpackedUnit {
  std::string folder;
  FileDescriptor hold;
};

// The folder in which the code of packages is unpacked: real files, for code that looks beside its __file__, and for byte code that
// is kept. Shared by all processes of a user.
//
//   trees-1/KEY/...      the files of the unit with that key, and __pycache__ folders that Python adds
//   trees-1/KEY.lock     locked (shared) by whoever uses the unit; its time is that of the last use
//   trees-1/KEY.XXXXXX   a unit that is being unpacked
//
// A folder KEY comes into being complete, by a rename; if several unpack one unit at once the first wins, and they are equal. So
// what can be wrong with it came later: files that were removed, cut or overwritten. All files have one time of change, which tells
// them from overwritten ones together with the size (and makes byte code valid wherever it was compiled); what differs is
// unpacked again, file by file, each by a rename too. For a verified package the contents are compared as well.
//
// Units that nobody used for 30 days are removed when another one is unpacked.
class TreeCache {
 public:
  // `folder` empty: the user's. Makes it. kEnvironment: no folder that only this user writes in.
  static Result<TreeCache> open(const std::string& folder);

  // kInvalidPackage: a record is not what the manifest says. kSystem.
  Result<UnpackedUnit> unpack(const PackageFile& file, const TreeUnit& unit) const;

 private:
  explicit TreeCache(std::string trees) : trees_(std::move(trees)) {}
  void remove_unused() const;

  std::string trees_;
};

}  // namespace deploy
