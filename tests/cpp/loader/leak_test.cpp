#include <malloc.h>
#include <unistd.h>

#include <fstream>

#include "tests/cpp/loader/fixture_namespace.h"

// Loading and unloading gives everything back: mappings, memory, descriptors.

namespace deploy::loader {

namespace {

constexpr const char* kFixtures[] = {
    "relr",        "user_no_plt",     "text_relocation",  "ifunc_user",      "segments",          "interposed",
    "diamond",     "circle",          "unique_a",         "unique_b",        "versions_user_new", "tls_general",
    "tls_initial", "tls_descriptors", "tls_page_aligned", "tls_destructors", "tls_key",           "init_loads",
    "atfork",      "throw_within",    "catcher",          "threads",         "next_user"};

long resident_pages() {
  long total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident;
}

int open_descriptors() {
  int count = 0;
  for (int fd = 0; fd < 256; ++fd) count += ::access(("/proc/self/fd/" + std::to_string(fd)).c_str(), F_OK) == 0;
  return count;
}

void load_use_unload(ExistingThread& existing) {
  auto space = make_namespace();
  for (const char* fixture : kFixtures) {
    Library* library = load_fixture(*space, fixture);
    ASSERT_EQ(call(*space, library, "check"), 0) << fixture;
    ASSERT_EQ(existing.run([&] { return call(*space, library, "check"); }), 0) << fixture;
  }
  ASSERT_TRUE(space->unload());
}

TEST(Leaks, TwoHundredLoadsAndUnloadsLeaveNothing) {
  ::mallopt(M_ARENA_MAX, 1);  // an arena more is two mappings, and no leak
  ExistingThread existing;
  for (int i = 0; i < 20; ++i) load_use_unload(existing);
  const int mappings = mappings_of(""), descriptors = open_descriptors();
  const long pages = resident_pages();
  for (int i = 0; i < 200; ++i) load_use_unload(existing);
  EXPECT_LE(mappings_of(""), mappings + 1);
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_LE(resident_pages(), pages + 64) << "one leaked page a load would be 200";
}

TEST(Leaks, FailedLoadsLeaveNothing) {
  ::mallopt(M_ARENA_MAX, 1);
  const auto fail = [] {
    auto space = make_namespace();
    for (const char* fixture : {"needs_undefined", "needs_removed", "versions_user_future", "init_throws", "init_throws_odd",
                                "tls_page_aligned_static"}) {
      EXPECT_FALSE(space->load(fixture_path(fixture), Visibility::kGlobal)) << fixture;
    }
  };
  for (int i = 0; i < 20; ++i) fail();
  const int mappings = mappings_of(""), descriptors = open_descriptors();
  const long pages = resident_pages();
  for (int i = 0; i < 200; ++i) fail();
  EXPECT_LE(mappings_of(""), mappings + 1);
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_LE(resident_pages(), pages + 64);
}

}  // namespace

}  // namespace deploy::loader
