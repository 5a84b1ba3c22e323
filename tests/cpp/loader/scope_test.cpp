#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>

#include "tests/cpp/loader/fixture_namespace.h"

// Symbols across libraries that were loaded apart, across namespaces, and the errors of lookups.

namespace deploy::loader {

namespace {

void* address(Namespace& space, Library* library, const std::string& name) {
  auto found = space.symbol(library, name);
  EXPECT_TRUE(found) << found.failure().message;
  return found ? *found : nullptr;
}

void* result_of(Namespace& space, Library* library, const std::string& function) {
  return reinterpret_cast<void* (*)()>(address(space, library, function))();
}

TEST(Scope, UniqueSymbolsAreOneInANamespaceAndNoneBetweenNamespaces) {
  std::set<void*> statics;
  std::vector<std::unique_ptr<Namespace>> spaces;
  for (int i = 0; i < 3; ++i) {
    Namespace& space = *spaces.emplace_back(make_namespace());
    Library* a = load_fixture(space, "unique_a");
    Library* b = load_fixture(space, "unique_b");
    for (const char* function : {"address_of_unique", "address_of_local_static"}) {
      EXPECT_EQ(result_of(space, a, function), result_of(space, b, function)) << function;
      EXPECT_TRUE(statics.insert(result_of(space, a, function)).second) << function << " is shared between namespaces";
    }
  }
}

TEST(Scope, LocalLibrariesDoNotServeOthersAndGlobalOnesDo) {
  auto space = make_namespace();
  load_fixture(*space, "which_1");
  EXPECT_NE(load_failure(*space, "undefined").find("nobody_defines_this"), std::string::npos);
  Library* second = load_fixture(*space, "which_2");
  EXPECT_EQ(call(*space, second, "reached_by_2"), 2);

  auto other = make_namespace();
  load_fixture(*other, "which_1", Visibility::kGlobal);
  second = load_fixture(*other, "which_2");
  EXPECT_EQ(call(*other, second, "reached_by_2"), 1) << "what is global comes before the library's own definition";
}

TEST(Scope, ALaterGlobalLoadWidensAnEarlierLocalOne) {
  auto space = make_namespace();
  Library* first = load_fixture(*space, "which_1", Visibility::kLocal);
  EXPECT_EQ(load_fixture(*space, "which_1", Visibility::kGlobal), first);
  EXPECT_EQ(call(*space, load_fixture(*space, "which_2"), "reached_by_2"), 1);
}

// What only the namespace's global scope defines, the system's loader cannot find: such a library becomes private.
class GlobalScope : public testing::Test {
 protected:
  // dlopen and dlsym, as private code calls them.
  explicit GlobalScope() : space(make_namespace()) {
    Library* opener = load_fixture(*space, "opener");
    open_ = reinterpret_cast<void* (*)(const char*, int)>(address(*space, opener, "open_library"));
    find_ = reinterpret_cast<void* (*)(void*, const char*)>(address(*space, opener, "find_symbol"));
    error_ = reinterpret_cast<const char* (*)()>(address(*space, opener, "last_error"));
  }
  static std::string px(const char* name) { return fixture_path(std::string("libpx_") + name + ".so"); }
  void* open(const std::string& path, int flags = RTLD_NOW) { return open_(path.c_str(), flags); }
  std::string error() {
    const char* text = error_();
    return text ? text : "";
  }
  int call(void* handle, const char* function) {
    void* found = handle ? find_(handle, function) : nullptr;
    if (!found) {
      ADD_FAILURE() << error();
      return -1;
    }
    return reinterpret_cast<int (*)()>(found)();
  }

  std::unique_ptr<Namespace> space;

 private:
  void* (*open_)(const char*, int);
  void* (*find_)(void*, const char*);
  const char* (*error_)();
};

TEST_F(GlobalScope, ServesALibraryThatWouldBeShared) {
  ASSERT_TRUE(open(fixture_path("global_provider"), RTLD_NOW | RTLD_GLOBAL));
  void* user = open(px("global_user"));
  EXPECT_EQ(call(user, "uses_global"), 506);
  EXPECT_EQ(call(user, "uses_global"), 607);
  GlobalScope::space = make_namespace();
  load_fixture(*space, "global_provider", Visibility::kGlobal);
  auto other = space->load(px("global_user"), Visibility::kLocal);
  ASSERT_TRUE(other) << other.failure().message;
  EXPECT_EQ(loader::call(*space, *other, "uses_global"), 506) << "each namespace has its own";
}

TEST_F(GlobalScope, ServesALibraryWhoseDependencyAsks) {
  ASSERT_TRUE(open(fixture_path("global_provider"), RTLD_LAZY | RTLD_GLOBAL));
  EXPECT_EQ(call(open(px("global_user_above"), RTLD_LAZY), "through"), 506);
}

TEST_F(GlobalScope, ServesWeakAndThreadLocalReferences) {
  EXPECT_EQ(call(open(px("global_weak_user")), "has_global"), -1) << "nobody defines it yet";
  ASSERT_TRUE(open(fixture_path("global_provider"), RTLD_NOW | RTLD_GLOBAL));
  EXPECT_EQ(call(open(px("global_thread_user")), "uses_global_thread_data"), 4);
  EXPECT_EQ(call(open(px("global_weak_user")), "has_global"), 5);
}

TEST_F(GlobalScope, IsAskedAgainOnceItGrew) {
  EXPECT_EQ(open(px("global_user")), nullptr);
  EXPECT_NE(error().find("undefined symbol: global_"), std::string::npos);
  ASSERT_TRUE(open(fixture_path("global_provider"), RTLD_NOW | RTLD_LOCAL));
  EXPECT_EQ(open(px("global_user")), nullptr) << "what is local serves nobody";
  ASSERT_TRUE(open(fixture_path("global_provider"), RTLD_NOW | RTLD_GLOBAL));
  EXPECT_EQ(call(open(px("global_user")), "uses_global"), 506);
}

TEST_F(GlobalScope, ServesWhatASharedLibraryBelowItDefines) {
  // The namespace's library is global, and so what it needs is, though the system's loader has that for this namespace only.
  ASSERT_TRUE(open(fixture_path("global_above_shared"), RTLD_NOW | RTLD_GLOBAL));
  void* alone = open(px("plain_alone"));
  ASSERT_TRUE(alone) << error();
  void* handle = ::dlopen(px("plain").c_str(), RTLD_NOW);
  EXPECT_EQ(reinterpret_cast<void* (*)()>(address(*space, static_cast<Library*>(alone), "address_seen"))(),
            ::dlsym(handle, "plain_data"));
}

TEST_F(GlobalScope, LeavesALibrarySharedThatFindsAllInWhatItNeeds) {
  ASSERT_TRUE(open(fixture_path("global_plain"), RTLD_NOW | RTLD_GLOBAL)) << "it defines plain_address too";
  void* user = open(px("plain_user"));
  void* handle = ::dlopen(px("plain_user").c_str(), RTLD_NOW | RTLD_NOLOAD);
  EXPECT_EQ(user, handle) << "the system's own";
  if (handle) ::dlclose(handle);
}

TEST(Scope, AReplayedLoadBindsAsTheFirstDid) {
  for (int i = 0; i < 3; ++i) {
    auto space = make_namespace();
    load_fixture(*space, "which_1", i == 1 ? Visibility::kGlobal : Visibility::kLocal);
    EXPECT_EQ(call(*space, load_fixture(*space, "which_2"), "reached_by_2"), i == 1 ? 1 : 2);
    auto other = make_namespace();
    EXPECT_EQ(call(*other, load_fixture(*other, "interposed"), "check"), 0);
  }
}

TEST(Scope, EverySymbolOfEveryHashStyleIsFound) {
  for (const char* fixture : {"hash_gnu", "hash_sysv", "hash_both", "hash_one_bucket"}) {
    auto space = make_namespace();
    Library* library = load_fixture(*space, fixture);
    for (int n = 100; n < 500; ++n) EXPECT_EQ(call(*space, library, "symbol_" + std::to_string(n)), n) << fixture;
    for (const char* absent : {"symbol_99", "symbol_500", "symbol_", "", "_symbol_100"})
      EXPECT_FALSE(space->symbol(library, absent)) << fixture;
  }
}

TEST(Scope, ALibraryThatExportsNothingLoads) {
  auto space = make_namespace();
  Library* library = load_fixture(*space, "no_exports");
  auto found = space->symbol(library, "hidden_function");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.failure().message, fixture_path("no_exports") + " and its dependencies do not define 'hidden_function'");
}

TEST(Scope, HiddenSymbolsAreNotFoundFromOutside) {
  auto space = make_namespace();
  EXPECT_FALSE(space->symbol(load_fixture(*space, "which_2_hidden"), "which"));
  EXPECT_TRUE(space->symbol(load_fixture(*space, "which_2_protected"), "which"));
}

TEST(Scope, AVersionThatNoLibraryHasFailsTheLoad) {
  auto space = make_namespace();
  const std::string message = load_failure(*space, "versions_user_future");
  EXPECT_NE(message.find("undefined symbol 'versioned' of version V3 of libfx_versions.so"), std::string::npos) << message;
}

TEST(Scope, DataIsTheNamespacesOwn) {
  auto first = make_namespace(), second = make_namespace();
  auto* a = static_cast<int*>(address(*first, load_fixture(*first, "provider"), "provided_data"));
  auto* b = static_cast<int*>(address(*second, load_fixture(*second, "provider"), "provided_data"));
  ASSERT_NE(a, b);
  *a = 100;
  EXPECT_EQ(*b, 7);
}

TEST(Scope, TextIsOnePhysicalFileForAll) {
  auto first = make_namespace(), second = make_namespace();
  load_fixture(*first, "hash_gnu");
  load_fixture(*second, "hash_gnu");
  const std::string maps = read_file("/proc/self/maps");
  int executable = 0;
  std::istringstream lines(maps);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("libfx_hash_gnu.so") != std::string::npos && line.find("r-xp") != std::string::npos) ++executable;
  }
  EXPECT_EQ(executable, 2) << "two mappings of the same file's pages";
}

TEST(Scope, AHostSymbolServesWhatNoLibraryDefines) {
  auto space = make_namespace();
  take_log();
  load_fixture(*space, "static_objects");
  EXPECT_EQ(take_log(), (std::vector<int>{1, 2}));
}

TEST(Scope, AWeakThreadLocalReferenceToNothingIsNull) {
  for (const char* fixture : {"tls_weak", "tls_weak_descriptors"}) {
    auto space = make_namespace();
    EXPECT_EQ(result_of(*space, load_fixture(*space, fixture), "address_of_absent_tls"), nullptr) << fixture;
  }
}

// Runs itself again with the library preloaded.
TEST(Scope, APreloadedFunctionWithoutVersionStandsForTheCLibrarys) {
  const char* preloaded = ::getenv("LD_PRELOAD");
  if (!preloaded || std::string(preloaded).find("libfx_preloaded.so") == std::string::npos) {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    const std::string command = "LD_PRELOAD='" + (preloaded ? preloaded + std::string(" ") : "") + fixture_path("preloaded") +
                                "' '" + self + "' --gtest_filter=Scope.APreloadedFunction* > /dev/null";
    EXPECT_EQ(::system(command.c_str()), 0) << command;
    return;
  }
  ASSERT_EQ(::getpagesize(), 12345);
  auto space = make_namespace();
  EXPECT_EQ(call(*space, load_fixture(*space, "preloaded_user"), "check"), 0);
}

}  // namespace

}  // namespace deploy::loader
