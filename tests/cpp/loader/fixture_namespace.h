// Fixture libraries, loaded by the system or into namespaces of ours.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/loader/namespace.h"

namespace deploy::loader {

// The file of a fixture: "relative" -> ".../libfx_relative.so"; a name with a dot or a slash stays as it is, below the fixtures'
// folder.
std::string fixture_path(const std::string& name);

// Fixtures and the C++ run time are private.
Policy fixture_policy();

// A namespace with the fixtures' policy, and host_log.
std::unique_ptr<Namespace> make_namespace(const std::string& name = "test", Policy policy = fixture_policy());

// The same, where these files exist at these paths.
std::unique_ptr<Namespace> make_namespace_with(std::map<std::string, EmbeddedFile> files);

// Runs `function` of a library of a namespace; a failure to find it is a test failure.
int call(Namespace& space, Library* library, const std::string& function);

// Loads a fixture; null and a test failure where that fails.
Library* load_fixture(Namespace& space, const std::string& fixture, Visibility visibility = Visibility::kLocal);

// The message of a load that has to fail; empty and a test failure where it does not.
std::string load_failure(Namespace& space, const std::string& fixture);

// How many mappings the process has whose line in /proc/self/maps holds `text`; all of them for an empty one.
int mappings_of(const std::string& text);

// A thread that exists before anything is loaded, and runs what it is given.
class ExistingThread {
 public:
  ExistingThread();
  ~ExistingThread();
  int run(std::function<int()> work);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What fixtures said through host_log since the last call.
std::vector<int> take_log();

// A temporary folder with files that a test makes.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  std::string path(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& content) const;

 private:
  std::string path_;
};

std::string read_file(const std::string& path);

// A behaviour: a fixture's check function gives 0 in a copy loaded by the system and in each of three namespaces, from the thread
// that loads, from one that existed before and from a new one; copies do not see each other's data; unloaded, nothing of it stays
// mapped.
struct Behaviour {
  const char* name;
  const char* fixture;
  const char* function = "check";
  bool reference = true;  // false: the system's loader differs, the table says why
};
inline void PrintTo(const Behaviour& b, std::ostream* out) {
  *out << b.fixture << "::" << b.function << (b.reference ? "" : " (the system's loader differs)");
}

class Conformance : public testing::TestWithParam<Behaviour> {};

#define DEPLOY_BEHAVIOURS(topic, ...)                                                                  \
  INSTANTIATE_TEST_SUITE_P(topic, Conformance, testing::ValuesIn(std::vector<Behaviour>{__VA_ARGS__}), \
                           [](const auto& info) { return std::string(info.param.name); })

}  // namespace deploy::loader
