#pragma once

// The archive of the standard library (stdlib.cpp; image/assemble_archive.py has its layout): entries, sorted by path, each a file
// below <image>/python3.X. Reading needs no GIL and no memory.

#include <cstddef>

#include "lib/interpreter/guest/guest.h"

namespace deploy::guest {

// An entry's number, or -1.
long find_entry(std::string_view path);
// The first entry whose path begins with `prefix`, or -1.
long first_entry(std::string_view prefix);
// The first entry that is not below the folder that the first `size` characters of the entry's path name.
long after_folder(long entry, std::size_t size);
long entry_count();

std::string_view entry_path(long entry);
std::string_view entry_content(long entry);  // compressed by zlib
std::size_t entry_size(long entry);          // of the file
// A standard extension module: there for listings, without content.
bool is_library(long entry);

}  // namespace deploy::guest
