# What lib/package needs of the system: OpenSSL's libcrypto (digests and signatures), zlib (deflated records), and nlohmann-json (manifests;
# headers only). Targets: OpenSSL::Crypto, ZLIB::ZLIB, nlohmann_json::nlohmann_json.
find_package(OpenSSL 3.0 QUIET COMPONENTS Crypto)
if(NOT TARGET OpenSSL::Crypto)
  message(FATAL_ERROR "No libcrypto of OpenSSL 3: install the package libssl-dev.")
endif()
find_package(ZLIB QUIET)
if(NOT TARGET ZLIB::ZLIB)
  message(FATAL_ERROR "No zlib: install the package zlib1g-dev.")
endif()
find_package(nlohmann_json 3.9 QUIET)
if(NOT TARGET nlohmann_json::nlohmann_json)
  message(FATAL_ERROR "No nlohmann/json.hpp: install the package nlohmann-json3-dev.")
endif()
