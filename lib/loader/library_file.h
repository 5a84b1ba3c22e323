#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "lib/loader/library.h"
#include "lib/loader/namespace.h"

namespace deploy::loader {

// What the bytes of one library file say. Immutable and shared by all namespaces that load the file. Thread-safe.
class ParsedFile {
 public:
  ParsedFile(ElfImage image, DynamicTable dynamic);

  const ElfImage image;
  const DynamicTable dynamic;
  const std::uint64_t serial;  // unique in the process

  // The symbol table, as views into `bytes` of this file; its hash table is walked the first time only.
  Result<SymbolTable> symbols(const ImageBytes& bytes) const;

 private:
  mutable std::optional<SymbolExtent> extent_;  // guarded by one lock for all, in library_file.cpp
};

// An opened library file before it is mapped: where its bytes are, and what it is.
//
// A file is parsed once a process, if it has not been changed for some seconds: then a later change cannot leave its time of
// change as it was (file systems' clocks tick every few milliseconds).
struct LibraryFile {
  FileDescriptor file;  // invalid for an embedded library, whose descriptor is borrowed
  int fd = -1;
  std::uint64_t offset = 0;  // of the library's first byte in fd
  std::uint64_t size = 0;    // from there
  FileIdentity identity;
  std::shared_ptr<const ParsedFile> parsed;

  const ElfImage& image() const { return parsed->image; }
  const DynamicTable& dynamic() const { return parsed->dynamic; }
  // A read-only view of the library's bytes.
  Result<MappedFile> content() const { return MappedFile::map(fd, offset, size); }

  static Result<LibraryFile> open(const std::string& path);
  static Result<LibraryFile> open(const EmbeddedFile& embedded);
};

}  // namespace deploy::loader
