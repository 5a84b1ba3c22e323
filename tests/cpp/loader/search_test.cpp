#include "lib/loader/search.h"

#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

#include "tests/cpp/loader/fixture_namespace.h"

// Where libraries are found: RPATH, RUNPATH, LD_LIBRARY_PATH, $ORIGIN, /etc/ld.so.cache; one file under several names.

namespace deploy::loader {

namespace {

int found_by_system(const std::string& fixture) {
  void* handle = ::dlopen(fixture_path(fixture).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) return -1;
  return reinterpret_cast<int (*)()>(::dlsym(handle, "found"))();
}

int found(const std::string& fixture) {
  auto space = make_namespace();
  auto library = space->load(fixture_path(fixture), Visibility::kLocal);
  return library ? call(*space, *library, "found") : -1;
}

// The folders a, b and c hold a library that says 1, 2 and 3. -1: not found.
struct Case {
  const char* name;
  const char* fixture;
  int expected;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.fixture; }

class SearchPaths : public testing::TestWithParam<Case> {};

TEST_P(SearchPaths, AsTheSystemSearches) {
  EXPECT_EQ(found(GetParam().fixture), GetParam().expected);
  EXPECT_EQ(found_by_system(GetParam().fixture), GetParam().expected) << "the reference";
}

INSTANTIATE_TEST_SUITE_P(Search, SearchPaths,
                         testing::Values(Case{"ByRunpathWithOrigin", "where_by_runpath", 1},
                                         Case{"ByRpathWithBracedOrigin", "where_by_rpath", 2},
                                         Case{"TheFirstFolderThatHasIt", "where_first_folder", 3},
                                         Case{"NowhereFails", "where_nowhere", -1},
                                         Case{"RpathServesDependenciesOfDependencies", "where_rpath_is_inherited", 2},
                                         Case{"RunpathDoesNot", "where_runpath_is_not_inherited", -1},
                                         Case{"DlopenUsesTheCallersRunpath", "where_opener", 3}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Search, LibraryPathComesAfterRpathAndBeforeRunpath) {
  ::setenv("LD_LIBRARY_PATH", ("/absent:" + fixture_path("where/c")).c_str(), 1);
  EXPECT_EQ(found("where_by_runpath"), 3);
  EXPECT_EQ(found("where_by_rpath"), 2);
  EXPECT_EQ(found("where_nowhere"), 3);
  ::unsetenv("LD_LIBRARY_PATH");
}

TEST(Search, OriginIsTheFolderOfTheLibrary) {
  EXPECT_EQ(expand_origin("$ORIGIN/../lib", "/opt/x/bin/a.so"), "/opt/x/bin/../lib");
  EXPECT_EQ(expand_origin("${ORIGIN}", "/a.so"), "");
  EXPECT_EQ(expand_origin("/plain", "/opt/a.so"), "/plain");
  EXPECT_EQ(expand_origin("$ORIGIN:$ORIGIN/b", "rel/a.so"), "rel:rel/b");
  EXPECT_EQ(expand_origin("$ORIGIN", "a.so"), ".");
}

TEST(Search, AFolderWhoseNameHasTheTokenDoesNotLoop) {
  EXPECT_EQ(expand_origin("$ORIGIN/x", "/opt/$ORIGIN/a.so"), "/opt/$ORIGIN/x");
}

TEST(Search, OneFileUnderTwoNamesIsOneLibrary) {
  const TemporaryFolder folder;
  std::filesystem::create_symlink(fixture_path("provider"), folder.path("libfx_other.so"));
  auto space = make_namespace();
  auto other = space->load(folder.path("libfx_other.so"), Visibility::kLocal);
  ASSERT_TRUE(other);
  EXPECT_EQ(load_fixture(*space, "provider"), *other);
  EXPECT_EQ(call(*space, load_fixture(*space, "user_now"), "check"), 0);
  EXPECT_EQ(mappings_of("libfx_provider.so"), 5);
}

TEST(Search, ARewrittenFileIsAnotherLibrary) {
  const TemporaryFolder folder;
  auto space = make_namespace();
  const std::string path = folder.write("libfx_compiled.so", read_file(fixture_path("which_1")));
  auto first = space->load(path, Visibility::kLocal);
  std::filesystem::remove(path);  // as compilers do; a file that is overwritten in place changes under its users' feet
  folder.write("libfx_compiled.so", read_file(fixture_path("which_2")));
  auto second = space->load(path, Visibility::kLocal);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(call(*space, *first, "which"), 1);
  EXPECT_EQ(call(*space, *second, "which"), 2);
}

TEST(Search, SystemLibrariesAreFoundThroughTheCache) {
  const auto libm = find_library("libm.so.6", {});
  ASSERT_TRUE(libm);
  EXPECT_EQ((*libm)[0], '/');
  EXPECT_FALSE(find_library("libfx_absent.so.9", {}));
  EXPECT_FALSE(find_library("/absent/libm.so.6", {}));
}

TEST(Search, FilesThatAreNoX8664LibrariesArePassedOver) {
  const TemporaryFolder folder;
  folder.write("a/libfx_where.so", "INPUT(libfx_other.so)");
  std::filesystem::create_directories(folder.path("b"));
  std::filesystem::copy_file(fixture_path("where/b/libfx_where.so"), folder.path("b/libfx_where.so"));
  EXPECT_EQ(find_library("libfx_where.so", {{folder.path("a"), folder.path("b")}, {}}), folder.path("b/libfx_where.so"));
}

// A cache of the new format with these entries.
std::string make_cache(const std::vector<std::array<std::string, 2>>& entries, std::uint64_t hardware = 0,
                       std::int32_t flags = 0x0303) {
  std::string strings, table;
  const std::uint32_t strings_at = 48 + 24 * static_cast<std::uint32_t>(entries.size());
  const auto add = [&](const std::string& text) {
    const auto at = strings_at + static_cast<std::uint32_t>(strings.size());
    strings += text + '\0';
    return at;
  };
  for (const auto& [name, path] : entries) {
    const std::uint32_t key = add(name), value = add(path), os = 0;
    for (const void* field : {static_cast<const void*>(&flags), static_cast<const void*>(&key), static_cast<const void*>(&value),
                              static_cast<const void*>(&os)}) {
      table.append(static_cast<const char*>(field), 4);
    }
    table.append(reinterpret_cast<const char*>(&hardware), 8);
  }
  std::string header = "glibc-ld.so.cache1.1";
  const std::uint32_t count = static_cast<std::uint32_t>(entries.size()), size = static_cast<std::uint32_t>(strings.size());
  header.append(reinterpret_cast<const char*>(&count), 4).append(reinterpret_cast<const char*>(&size), 4).append(20, '\0');
  return header + table + strings;
}

TEST(Cache, GivesThePathOfAName) {
  const std::string cache = make_cache({{"libz.so.1", "/lib/libz.so.1"}, {"liba.so", "/opt/liba.so"}});
  EXPECT_EQ(find_in_cache(cache, "libz.so.1"), "/lib/libz.so.1");
  EXPECT_EQ(find_in_cache(cache, "liba.so"), "/opt/liba.so");
  EXPECT_EQ(find_in_cache(cache, "liba"), "");
}

TEST(Cache, EntriesForOtherMachinesAndHardwareVariantsArePassedOver) {
  EXPECT_EQ(find_in_cache(make_cache({{"liba.so", "/x32/liba.so"}}, 0, 0x0803), "liba.so"), "");
  EXPECT_EQ(find_in_cache(make_cache({{"liba.so", "/v3/liba.so"}}, std::uint64_t{1} << 62), "liba.so"), "");
}

TEST(Cache, TheNewFormatMayFollowTheOldOne) {
  EXPECT_EQ(find_in_cache("ld.so-1.7.0\0\0\0\0\0" + make_cache({{"liba.so", "/opt/liba.so"}}), "liba.so").empty(), true)
      << "not aligned";
  EXPECT_EQ(find_in_cache(std::string(16, '\1') + make_cache({{"liba.so", "/opt/liba.so"}}), "liba.so"), "/opt/liba.so");
}

TEST(Cache, DamagedFilesGiveNothingOrSomething) {
  const std::string good = make_cache({{"libz.so.1", "/lib/libz.so.1"}, {"liba.so", "/opt/liba.so"}, {"libb.so", "/opt/libb.so"}});
  for (std::size_t size = 0; size <= good.size(); ++size) {
    const std::string cut(good.data(), size);  // its own allocation: a sanitizer sees every byte beyond
    EXPECT_TRUE(find_in_cache(std::string_view(cut.data(), cut.size()), "libb.so").size() <= good.size());
  }
  std::mt19937 random(7);
  for (int i = 0; i < 5000; ++i) {
    std::string damaged = good;
    for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; --flips)
      damaged[random() % damaged.size()] ^= static_cast<char>(1u << (random() % 8));
    EXPECT_LE(find_in_cache(damaged, "libb.so").size(), damaged.size());
  }
}

}  // namespace

}  // namespace deploy::loader
