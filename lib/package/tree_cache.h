#pragma once

#include <string>

#include "lib/package/package_file.h"
#include "lib/package/tree.h"
#include "lib/support/file.h"
#include "lib/support/folder.h"
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
//   trees-1/KEY/...            the files of the unit with that key, and __pycache__ folders that Python adds
//   trees-1/KEY-verified/...   the same for verified packages; nobody adds anything there
//   trees-1/KEY.lock           locked (shared) by whoever uses the unit; its time is that of the last use
//   trees-1/KEY.XXXXXXXXXX     a unit that is being unpacked, or removed
//
// Nobody but root and the user can change anything there: the way to the folder is checked (lib/support/folder.h), and everything
// below is opened by the folder's descriptor, component by component, without following links. What another user owns or may write
// to, and a file in the place of a folder, is removed, and unpacked again.
//
// A folder KEY comes into being complete, by a rename; if several unpack one unit at once the first wins, and they are equal. So
// what can be wrong with it came later: files that were removed, cut or overwritten. All files have one time of change, which tells
// them from overwritten ones together with the size (and makes byte code valid wherever it was compiled); what differs is
// unpacked again, file by file, each by a rename too. For a verified package the contents are compared as well, and what is not of
// the unit is removed.
//
// Units that nobody used for 30 days are removed when another one is unpacked.
class TreeCache {
 public:
  // `folder` empty: the user's. Makes it. kEnvironment: others could change it, or it cannot be used. kInvalidArgument: no path.
  static Result<TreeCache> open(const std::string& folder);

  // kInvalidPackage: a record is not what the manifest says. kEnvironment: another process does not give the unit's lock back.
  // kSystem.
  Result<UnpackedUnit> unpack(const PackageFile& file, const TreeUnit& unit) const;

 private:
  explicit TreeCache(Folder trees) : trees_(std::move(trees)) {}
  int at() const { return trees_.descriptor.get(); }
  Result<FileDescriptor> lock(const std::string& name) const;
  Result<void> fill(const PackageFile& file, const TreeUnit& unit, const std::string& name) const;
  void remove_unused() const;
  void remove_unit(const std::string& lock) const;

  Folder trees_;
};

}  // namespace deploy
