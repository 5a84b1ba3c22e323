#include "lib/package/signing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace deploy {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// RFC 8032, 7.1, test 1, in the form that openssl writes, and the name that its public part has.
constexpr const char* kPrivate =
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
constexpr const char* kName = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
// An X25519 key: for another purpose.
constexpr const char* kOther =
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIIDXdc5HeOE5e/uAjTSratA82UZIQYJo7VP6rUu3mCFN\n-----END PRIVATE KEY-----\n";

Sha256Digest digest_of(std::string_view text) {
  Sha256 digest;
  digest.add(text);
  return digest.finish();
}

PackageSignature signature_of(std::string_view text) { return sign(digest_of(text), kPrivate).value(); }

TEST(Digest, IsTheSha256) {
  EXPECT_EQ(hex(digest_of("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 parts;
  parts.add("a");
  Sha256 copy = parts;
  parts.add("bc");
  copy.add("x");
  EXPECT_EQ(parts.finish(), digest_of("abc"));
  EXPECT_EQ(copy.finish(), digest_of("ax"));
}

TEST(Signing, ASignatureHoldsForItsDigestOnly) {
  PackageSignature signature = signature_of("the file");
  EXPECT_TRUE(holds(signature, digest_of("the file")));
  EXPECT_FALSE(holds(signature, digest_of("another file")));
  signature.signature[10] ^= 1;
  EXPECT_FALSE(holds(signature, digest_of("the file")));
  signature = signature_of("the file");
  signature.public_key = std::string(43, 'A') + "=";
  EXPECT_FALSE(holds(signature, digest_of("the file")));
}

TEST(Signing, AKeysNameIsItsPublicPart) { EXPECT_EQ(signature_of("").public_key, kName); }

TEST(Signing, ACommentIsReadAsItWasWritten) {
  const PackageSignature signature = signature_of("the file");
  EXPECT_EQ(signature.comment().size(), PackageSignature::kCommentSize);
  const std::optional<PackageSignature> read = PackageSignature::parse(signature.comment()).value();
  ASSERT_TRUE(read);
  EXPECT_EQ(read->public_key, signature.public_key);
  EXPECT_EQ(read->signature, signature.signature);
}

TEST(Signing, OtherCommentsAreNoSignatures) {
  EXPECT_FALSE(PackageSignature::parse("").value());
  EXPECT_FALSE(PackageSignature::parse("made by hand").value());
}

TEST(Signing, DamagedSignaturesAndThoseOfTheFutureAreRefused) {
  const std::string whole = signature_of("the file").comment();
  for (std::size_t size = std::string("deploy-signature-1").size(); size < whole.size(); ++size) {
    const auto parsed = PackageSignature::parse(whole.substr(0, size));
    ASSERT_FALSE(parsed) << size;
    EXPECT_EQ(parsed.failure().code, ErrorCode::kUntrusted);
  }
  EXPECT_FALSE(PackageSignature::parse(whole + "="));
  EXPECT_THAT(PackageSignature::parse("deploy-signature-2 x y").failure().message,
              HasSubstr("a kind that this version does not know"));
}

TEST(Signing, OnlyTrustedKeysCount) {
  const PackageSignature signature = signature_of("the file");
  const std::string stranger = std::string(43, 'A') + "=";
  const Sha256Digest digest = digest_of("the file");
  EXPECT_TRUE(check_trusted(signature, digest, {stranger, signature.public_key}, "m.pt"));
  const auto problem = [&](const std::optional<PackageSignature>& given, const Sha256Digest& of,
                           const std::vector<std::string>& keys) {
    const Result<void> checked = check_trusted(given, of, keys, "m.pt");
    return checked ? "trusted" : checked.failure().message;
  };
  EXPECT_THAT(problem(std::nullopt, digest, {stranger}), HasSubstr("'m.pt' is not signed; expected a signature by " + stranger));
  EXPECT_THAT(problem(signature, digest, {stranger}),
              HasSubstr("is signed by key " + signature.public_key + ", which is not trusted"));
  EXPECT_THAT(problem(signature, digest_of("x"), {signature.public_key}), HasSubstr("the file was changed after it was signed"));
}

TEST(Signing, AKeyThatAnybodyCanSignForIsNeverTrusted) {
  const std::string weak[] = {
      "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "7P///////////////////////////////////////38=",  // of order 1 and 2
      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA=",  // 4
      "JuiVj8KyJ7BFw/SJ8u+Y8NXfrAXTxjM5sTgCiG1T/AU=", "JuiVj8KyJ7BFw/SJ8u+Y8NXfrAXTxjM5sTgCiG1T/IU=",  // 8
      "xxdqcD1N2E+6PAt2DRBnDyogU/osOczGTsf9d5KsA3o=", "xxdqcD1N2E+6PAt2DRBnDyogU/osOczGTsf9d5KsA/o=",
      "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA=",  // 1, with the wrong bit for x
      "7f///////////////////////////////////////38=", "7v///////////////////////////////////////38=",  // 0 and 1 as p and p + 1
      "/////////////////////////////////////////38=", "//////////////////////////////////////////8="};
  // R is the neutral element and S is 0: that holds for a key of small order and one text in eight, or for any text.
  const std::string for_all = "\x01" + std::string(63, '\0');
  for (const std::string& name : weak) {
    ASSERT_EQ(name.size(), 44u);
    const PackageSignature signature = {name, for_all};
    for (char text = 'a'; text <= 'p'; ++text) EXPECT_FALSE(holds(signature, digest_of({&text, 1}))) << name;
    const Result<void> trusted = check_trusted(signature, digest_of("a"), {name}, "m.pt");
    ASSERT_FALSE(trusted);
    EXPECT_EQ(trusted.failure().code, ErrorCode::kUntrusted);
    EXPECT_THAT(trusted.failure().message,
                HasSubstr("is signed by key " + name + ", which cannot be trusted: it is of small order"));
  }
}

class KeyFileTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directory(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  static void expect_refusal(const std::string& key, ErrorCode code, const std::string& text) {
    for (const Failure& failure : {sign(digest_of(""), key).failure(), key_names({key}).failure()}) {
      EXPECT_EQ(failure.code, code) << failure.message;
      EXPECT_THAT(failure.message, HasSubstr(text));
      EXPECT_LT(failure.message.size(), 1000u);
    }
  }
  const fs::path folder_ = fs::temp_directory_path() / ("deploy_keys_" + std::to_string(::getpid()));
};

TEST_F(KeyFileTest, IsRead) {
  std::ofstream(folder_ / "key.pem") << kPrivate;
  EXPECT_EQ(sign(digest_of(""), (folder_ / "key.pem").string()).value().public_key, kName);
}

TEST_F(KeyFileTest, WhatIsNoFileIsNamedAndNeverWaitedFor) {
  const std::string fifo = folder_ / "fifo", large = folder_ / "large";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  std::ofstream(large) << std::string(100000, 'x');
  expect_refusal(fifo, ErrorCode::kInvalidArgument, "is a FIFO, expected a file");
  expect_refusal(folder_.string(), ErrorCode::kInvalidArgument, "is a directory, expected a file");
  expect_refusal("/dev/zero", ErrorCode::kInvalidArgument, "is a device, expected a file");
  expect_refusal(large, ErrorCode::kInvalidArgument, "has 100000 bytes; expected a PEM file of one key");
  expect_refusal(kPrivate + std::string(100000, '\n'), ErrorCode::kInvalidArgument, "expected a PEM text of one key");
  expect_refusal("", ErrorCode::kInvalidArgument, "is empty; expected a PEM file or text");
  expect_refusal(std::string("a\0b", 3), ErrorCode::kInvalidArgument, "key file 'a\\x00b' has a NUL character");
  expect_refusal(std::string(5000, 'x'), ErrorCode::kInvalidArgument, "is 5000 bytes long");
  expect_refusal(folder_ / "none", ErrorCode::kNotFound, "none': No such file or directory");
  fs::create_symlink("loop", folder_ / "loop");
  expect_refusal(folder_ / "loop", ErrorCode::kSystem, "Too many levels of symbolic links");
}

TEST(Signing, KeysOfOtherKindsAreNamed) {
  const Result<PackageSignature> garbage = sign(digest_of(""), "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n");
  ASSERT_FALSE(garbage);
  EXPECT_EQ(garbage.failure().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(garbage.failure().message, HasSubstr("openssl genpkey -algorithm ed25519"));
  EXPECT_THAT(sign(digest_of(""), kOther).failure().message, HasSubstr("of type X25519; expected ED25519"));
  EXPECT_EQ(sign(digest_of(""), "/no/such/key").failure().code, ErrorCode::kNotFound);
  EXPECT_EQ(key_names({kPrivate}).failure().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace deploy
