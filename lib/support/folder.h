#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "lib/support/file.h"
#include "lib/support/result.h"

// Folders of files that are going to be run: opened so that nobody else can put other files there, and used by their descriptors.

namespace deploy {

// A folder, and its path without symbolic links.
struct Folder {
  FileDescriptor descriptor;
  std::string path;
};

// Opens the folder `path`, and makes what of it does not exist (mode 0700). Fails (kEnvironment) unless root and the effective user
// are the only ones who can change what is found by Folder::path: see the text in folder.cpp. The message names the component.
Result<Folder> open_trusted_folder(const std::string& path);

// Opens, or makes, the folder `name` in the folder `parent`. It is this user's and nobody else may write in it: whatever else has
// that name, a file, a link or another user's folder, is removed. kSystem.
Result<FileDescriptor> make_own_folder(int parent, const std::string& name);

// Makes a new folder whose name begins with `prefix`; gives the rest of its name. kSystem.
Result<std::string> make_temporary_folder(int parent, const std::string& prefix);

// Whether what fstat() says is this user's, and nobody else may write to it.
bool is_own(const struct ::stat& status);

// Removes a file, or a folder with all that is in it. Follows no link. What cannot be removed stays.
void remove_at(int parent, const std::string& name);

// The names in a folder, without "." and "..".
std::vector<std::string> names_in(int folder);

// The folders on the way from a root folder to the files below it. Those to the file that was asked for last are kept open, so
// files are asked for in the order of their names.
class FoldersBelow {
 public:
  // `root` has to outlive this object.
  explicit FoldersBelow(int root) : root_(root) {}

  // The folder that `path` ("a/b/c.py") lies in, by make_own_folder().
  Result<int> folder_of(const std::string& path);

 private:
  struct Level {
    std::string name;
    FileDescriptor folder;
  };
  int root_;
  std::vector<Level> levels_;
};

}  // namespace deploy
