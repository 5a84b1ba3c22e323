#include <dlfcn.h>

#include "tests/cpp/loader/fixture_namespace.h"

// dlclose by private code: what goes, and what has a reason to stay.

namespace deploy::loader {

namespace {

class Unload : public testing::Test {
 protected:
  void* open(const std::string& fixture, int flags = RTLD_NOW) {
    void* handle = function<void*(const char*, int)>("open_library")(fixture_path(fixture).c_str(), flags);
    EXPECT_TRUE(handle) << function<const char*()>("last_error")();
    return handle;
  }
  int close(void* handle) { return function<int(void*)>("close_library")(handle); }
  void* symbol(void* handle, const char* name) { return function<void*(void*, const char*)>("find_symbol")(handle, name); }

  template <class Type>
  Type* function(const char* name) {
    return reinterpret_cast<Type*>(*space_->symbol(opener_, name));
  }

  // Opens, pins and closes; the library must stay, and say nothing of an end.
  void expect_pinned(const std::string& fixture) {
    take_log();
    void* handle = open(fixture);
    reinterpret_cast<int* (*)()>(symbol(handle, "pin"))();
    EXPECT_EQ(close(handle), 0);
    EXPECT_GT(mappings_of(fixture), 0);
    EXPECT_TRUE(take_log().empty());
    EXPECT_EQ(open(fixture), handle) << "still the same copy";
  }

  std::unique_ptr<Namespace> space_ = make_namespace();
  Library* opener_ = load_fixture(*space_, "opener");
};

TEST_F(Unload, TheLastCloseUnmaps) {
  void* first = open("provider");
  EXPECT_EQ(open("provider"), first);
  EXPECT_EQ(close(first), 0);
  EXPECT_GT(mappings_of("libfx_provider.so"), 0);
  EXPECT_EQ(close(first), 0);
  EXPECT_EQ(mappings_of("libfx_provider.so"), 0);
  EXPECT_NE(close(first), 0) << "no handle any more";
}

TEST_F(Unload, ANewCopyStartsAfresh) {
  void* handle = open("provider");
  *static_cast<int*>(symbol(handle, "provided_data")) = 99;
  close(handle);
  handle = open("provider");
  EXPECT_EQ(*static_cast<int*>(symbol(handle, "provided_data")), 7);
}

TEST_F(Unload, DependenciesGoWithTheirLastUser) {
  void* diamond = open("diamond");
  void* left = open("diamond_left");
  close(diamond);
  EXPECT_GT(mappings_of("libfx_diamond_left.so"), 0);
  EXPECT_GT(mappings_of("libfx_diamond_bottom.so"), 0);
  EXPECT_EQ(reinterpret_cast<int (*)()>(symbol(left, "left"))(), 1);
  close(left);
  EXPECT_EQ(mappings_of("libfx_diamond"), 0);
}

TEST_F(Unload, ALibraryThatAnotherNeedsStays) {
  void* provider = open("provider");
  void* user = open("user_now");
  close(provider);
  EXPECT_EQ(reinterpret_cast<int (*)()>(symbol(user, "check"))(), 0);
  close(user);
  EXPECT_EQ(mappings_of("libfx_provider.so"), 0);
}

TEST_F(Unload, AGlobalLibraryThatALaterOneMayBeBoundToStays) {
  void* first = open("which_1", RTLD_NOW | RTLD_GLOBAL);
  void* second = open("which_2");
  close(first);
  EXPECT_EQ(reinterpret_cast<int (*)()>(symbol(second, "reached_by_2"))(), 1);
  close(second);
  EXPECT_EQ(mappings_of("libfx_which"), 0);
}

TEST_F(Unload, DestructorsOfThreadLocalObjectsPin) { expect_pinned("pinned_by_destructor"); }
TEST_F(Unload, UniqueSymbolsPin) { expect_pinned("pinned_by_unique"); }

TEST_F(Unload, ARunningThreadPins) {
  expect_pinned("pinned_by_thread");
  EXPECT_EQ(space_->live_threads(), 1u);
  void* handle = open("pinned_by_thread");
  reinterpret_cast<int (*)()>(symbol(handle, "release"))();
  while (space_->live_threads() != 0) {
  }
  close(handle), close(handle);
  EXPECT_EQ(take_log(), (std::vector<int>{30})) << "unloaded once the thread has ended";
}

TEST_F(Unload, TheNoDeleteFlagsPin) {
  take_log();
  void* handle = open("pinned_by_flag");
  close(handle);
  EXPECT_TRUE(take_log().empty());
  handle = open("provider", RTLD_NOW | RTLD_NODELETE);
  close(handle);
  EXPECT_GT(mappings_of("libfx_provider.so"), 0);
}

TEST_F(Unload, PinnedLibrariesGoWithTheNamespace) {
  for (const char* fixture : {"pinned_by_destructor", "pinned_by_unique"}) {
    void* handle = open(fixture);
    reinterpret_cast<int* (*)()>(symbol(handle, "pin"))();
    close(handle);
  }
  take_log();
  ASSERT_TRUE(space_->unload());
  EXPECT_EQ(take_log(), (std::vector<int>{20, 10, 11}));
  EXPECT_EQ(mappings_of("libfx_"), 0);
}

TEST_F(Unload, ThreadLocalBlocksAndStaticReserveAreReused) {
  for (int i = 0; i < 100; ++i) {
    void* handle = open("tls_large_static");  // 500 bytes of a reserve that has fewer than 1000
    EXPECT_EQ(reinterpret_cast<int (*)()>(symbol(handle, "check"))(), 0);
    close(handle);
  }
}

TEST_F(Unload, ClosingASystemLibraryKeepsItForTheHost) {
  void* handle = function<void*(const char*, int)>("open_library")("libz.so.1", RTLD_NOW);
  if (!handle) handle = function<void*(const char*, int)>("open_library")("libm.so.6", RTLD_NOW);
  ASSERT_TRUE(handle);
  EXPECT_EQ(close(handle), 0);
  EXPECT_TRUE(::dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD));
}

}  // namespace

}  // namespace deploy::loader
