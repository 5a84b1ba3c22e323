#pragma once

#include <optional>
#include <string>
#include <vector>

#include "deploy/export.h"

namespace deploy {

// Signatures of package files: Ed25519 over all bytes of the file, kept in the comment at its end (docs/format.md), so a signed
// package is an ordinary one to whoever does not look. Keys are PEM files as `openssl genpkey -algorithm ed25519` and `openssl pkey
// -pubout` write them, or such a text itself ("-----BEGIN ..."). A key's name is its 32 bytes in base64.
//
// To load nothing but what somebody signed, give LoadOptions::trusted_keys: that checks the very bytes that are then used, which a
// check of the file beforehand does not.

// Signs the file in place, in place of any signature it has; gives the key's name. The file must not be in use.
// Throws kNotFound, kInvalidPackage, kInvalidArgument (no private key, or no path), kSystem.
DEPLOY_API std::string sign_package(const std::string& path, const std::string& private_key);

// The name of the key that signed the file as it is now; nullopt: it is not signed. That says nothing of whether the key is to be
// trusted. Throws kNotFound, kInvalidPackage, kUntrusted where the signature does not hold.
DEPLOY_API std::optional<std::string> package_signer(const std::string& path);

// The name of the one of `trusted_keys` that signed the file. A key that anybody can sign for (one of small order) is never
// trusted. Throws kUntrusted where none did, kInvalidArgument for a key that is none, and as above.
DEPLOY_API std::string verify_package(const std::string& path, const std::vector<std::string>& trusted_keys);

}  // namespace deploy
