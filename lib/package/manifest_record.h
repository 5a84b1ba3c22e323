#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "deploy/manifest.h"
#include "lib/package/archive.h"
#include "lib/support/result.h"

namespace deploy {

// The record of a package that holds its manifest.
inline constexpr std::string_view kManifestRecord = ".data/deploy/manifest.json";

// What this library writes and reads; it reads all lower ones too.
inline constexpr int kManifestFormat = 1;

// A manifest, and the part of it that is nobody else's business: what each record has to be.
struct PackageManifest {
  Manifest manifest;
  std::unordered_map<std::string, std::string> digests;  // record -> SHA-256 in hexadecimal digits

  // kInvalidPackage: no JSON, another structure, a format that is too new, or records that the archive does not have like that.
  static Result<PackageManifest> parse(std::string text, const Archive& archive, const std::string& path);
};

}  // namespace deploy
