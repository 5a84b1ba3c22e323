#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "tests/cpp/loader/fixture_namespace.h"

// What runs when: initialisers, exit handlers, finalisers; loads that fail and are undone.

namespace deploy::loader {

namespace {

using testing::Test;

// The events of a library of lifecycle.c, in the order that the ABI gives: 1-4 at load, 5-9 at unload.
std::vector<int> events(std::vector<int> numbers, std::vector<int> events) {
  std::vector<int> all;
  for (int number : numbers) {
    for (int event : events) all.push_back(number + event);
  }
  return all;
}

TEST(Lifecycle, DependenciesAreInitialisedFirstAndFinalisedLastAsWithTheSystem) {
  take_log();
  void* handle = ::dlopen(fixture_path("life_root").c_str(), RTLD_NOW);
  ASSERT_TRUE(handle) << ::dlerror();
  const std::vector<int> system_load = take_log();
  ::dlclose(handle);
  const std::vector<int> system_unload = take_log();

  auto space = make_namespace();
  Library* root = load_fixture(*space, "life_root");
  EXPECT_EQ(take_log(), system_load);
  EXPECT_EQ(system_load, events({100, 200, 300}, {1, 2, 3, 4}));
  EXPECT_EQ(call(*space, root, "life_root"), 2);
  ASSERT_TRUE(space->unload());
  // A namespace ends as a process does: all exit handlers, then the libraries.
  std::vector<int> expected = events({300, 200, 100}, {5, 6});
  for (int event : events({300, 200, 100}, {7, 8, 9})) expected.push_back(event);
  EXPECT_EQ(take_log(), expected);
  EXPECT_EQ(system_unload, events({300, 200, 100}, {7, 5, 6, 8, 9}));
}

TEST(Lifecycle, ClosedByPrivateCodeALibraryIsFinalisedAsWithTheSystem) {
  auto space = make_namespace();
  Library* opener = load_fixture(*space, "opener");
  auto open = reinterpret_cast<void* (*)(const char*, int)>(*space->symbol(opener, "open_library"));
  auto close = reinterpret_cast<int (*)(void*)>(*space->symbol(opener, "close_library"));
  take_log();
  for (int round = 0; round < 3; ++round) {
    void* handle = open(fixture_path("life_root").c_str(), RTLD_NOW);
    ASSERT_TRUE(handle);
    EXPECT_EQ(take_log(), events({100, 200, 300}, {1, 2, 3, 4}));
    EXPECT_EQ(close(handle), 0);
    EXPECT_EQ(take_log(), events({300, 200, 100}, {7, 5, 6, 8, 9}));
    EXPECT_EQ(mappings_of("libfx_life_"), 0);
  }
}

TEST(Lifecycle, ASecondLoadInitialisesNothing) {
  auto space = make_namespace();
  take_log();
  Library* library = load_fixture(*space, "life_leaf");
  EXPECT_EQ(take_log().size(), 4u);
  EXPECT_EQ(load_fixture(*space, "life_leaf"), library);
  EXPECT_EQ(load_fixture(*space, "stub/../libfx_life_leaf.so"), library) << "another path to the same file";
  EXPECT_TRUE(take_log().empty());
}

TEST(Lifecycle, StaticObjectsAreDestroyedInReverse) {
  auto space = make_namespace();
  take_log();
  Library* library = load_fixture(*space, "static_objects");
  EXPECT_EQ(call(*space, library, "check"), 0);
  ASSERT_TRUE(space->unload());
  EXPECT_EQ(take_log(), (std::vector<int>{1, 2, 3, -3, -2, -1}));
}

TEST(Lifecycle, ThreadLocalObjectsOfTheUnloadingThreadAreDestroyedAtUnload) {
  auto space = make_namespace();
  take_log();
  Library* library = load_fixture(*space, "thread_local_at_unload");
  EXPECT_EQ(call(*space, library, "check"), 0);
  std::thread([&] { EXPECT_EQ(call(*space, library, "check"), 0); }).join();
  EXPECT_EQ(take_log(), (std::vector<int>{77})) << "the other thread's, at its end";
  ASSERT_TRUE(space->unload());
  EXPECT_EQ(take_log(), (std::vector<int>{77}));
}

TEST(Lifecycle, ForkHandlersGoWithTheNamespace) {
  auto space = make_namespace();
  load_fixture(*space, "atfork");
  ASSERT_TRUE(space->unload());
  const pid_t pid = ::fork();  // would call unmapped memory
  if (pid == 0) ::_exit(0);
  int status = -1;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

TEST(Lifecycle, ALibraryIsInitialisedOnceWhenAnInitialiserLoadsWhatNeedsIt) {
  take_log();
  void* handle = ::dlopen(fixture_path("init_nested").c_str(), RTLD_NOW);
  ASSERT_TRUE(handle) << ::dlerror();
  const std::vector<int> reference = take_log();
  auto space = make_namespace();
  Library* library = load_fixture(*space, "init_nested");
  EXPECT_EQ(take_log(), reference);
  EXPECT_EQ(reference, (std::vector<int>{1, 3, 4, 2, 5}));
  EXPECT_EQ(call(*space, library, "check"), 0);
}

TEST(Lifecycle, AnInitialiserMayWaitForItsThreads) {
  for (int i = 0; i < 2; ++i) {
    auto space = make_namespace();
    load_fixture(*space, "tls_initial");
    EXPECT_EQ(call(*space, load_fixture(*space, "init_thread"), "check"), 0);
    EXPECT_TRUE(space->unload());
  }
}

TEST(Lifecycle, AnInitialiserThatThrowsFailsTheLoadAndLeavesNothing) {
  auto space = make_namespace();
  load_fixture(*space, "throw_within");  // the C++ run time stays between the loads
  take_log();
  for (int i = 0; i < 3; ++i) {
    const std::string message = load_failure(*space, "init_throws");
    EXPECT_EQ(message, fixture_path("init_throws") + ": an initialiser threw std::runtime_error: no such device");
    EXPECT_EQ(take_log(), (std::vector<int>{1, 2}))
        << "the first initialiser, the object on the way of the exception; not the third";
    EXPECT_EQ(mappings_of("libfx_init_throws.so"), 0);
  }
}

TEST(Lifecycle, AThrowingLibraryTakesItsDependenciesAlong) {
  auto space = make_namespace();
  const std::string message = load_failure(*space, "init_throws_odd");
  EXPECT_EQ(message, fixture_path("init_throws_odd") + ": an initialiser threw Odd");
  EXPECT_EQ(mappings_of("libfx_init_"), 0);
  EXPECT_EQ(call(*space, load_fixture(*space, "init_calls_needed"), "check"), 0);
  EXPECT_TRUE(space->unload());
}

TEST(Lifecycle, AFailedLoadIsUndoneCompletely) {
  auto space = make_namespace();
  load_fixture(*space, "relative");
  const int before = mappings_of("");
  for (int i = 0; i < 3; ++i) {
    const std::string message = load_failure(*space, "needs_undefined");
    EXPECT_NE(message.find("libfx_undefined.so: undefined symbol 'nobody_defines_this'"), std::string::npos) << message;
    EXPECT_EQ(mappings_of("libfx_which"), 0);
  }
  EXPECT_EQ(mappings_of(""), before);
  EXPECT_EQ(call(*space, load_fixture(*space, "interposed"), "check"), 0) << "its dependencies load afterwards";
}

TEST(Lifecycle, AFailedGlobalLoadServesNobody) {
  auto space = make_namespace();
  EXPECT_FALSE(space->load(fixture_path("needs_undefined"), Visibility::kGlobal));
  EXPECT_EQ(call(*space, load_fixture(*space, "which_2"), "reached_by_2"), 2);
}

TEST(Lifecycle, AMissingDependencyIsNamedWithWhoNeedsIt) {
  auto space = make_namespace();
  const std::string message = load_failure(*space, "needs_removed");
  EXPECT_TRUE(message.starts_with(fixture_path("needs_removed") + " needs 'libfx_removed.so': ")) << message;
  EXPECT_EQ(mappings_of("libfx_"), 0);
}

TEST(Lifecycle, TheLoadersErrorsNameTheFileAndWhatIsWrong) {
  const TemporaryFolder folder;
  auto space = make_namespace();
  const auto failure_of = [&](const std::string& path) {
    auto loaded = space->load(path, Visibility::kLocal);
    EXPECT_FALSE(loaded);
    return loaded ? std::string() : loaded.failure().message;
  };
  EXPECT_NE(failure_of(folder.path("absent.so")).find("absent.so"), std::string::npos);
  EXPECT_NE(failure_of(folder.path("")).find("is a directory"), std::string::npos);
  EXPECT_EQ(failure_of(folder.write("empty.so", "")), folder.path("empty.so") + ": not an ELF file: 0 bytes, an ELF header has 64");
  EXPECT_EQ(failure_of(folder.write("text.so", std::string(100, 'x'))),
            folder.path("text.so") + ": not an ELF file: no \\x7fELF at its start");
  std::string file = read_file(fixture_path("bare"));
  file[4] = 1;
  EXPECT_NE(failure_of(folder.write("elf32.so", file)).find("class 1"), std::string::npos);
  file[4] = 2, file[18] = static_cast<char>(183);
  EXPECT_NE(failure_of(folder.write("aarch64.so", file)).find("e_machine 183, expected 62 (x86-64)"), std::string::npos);
  EXPECT_NE(failure_of("/proc/self/exe").find("/proc/self/exe"), std::string::npos);
}

TEST(Lifecycle, FilesThatAreNoLibrariesToOpenAreRefused) {
  auto space = make_namespace();
  EXPECT_EQ(load_failure(*space, "not_to_open"),
            fixture_path("not_to_open") + ": must not be opened at run time (linked with -z nodlopen)");
  EXPECT_EQ(load_failure(*space, "program.so"),
            fixture_path("program.so") + ": a position-independent executable, expected a shared library");
  EXPECT_FALSE(::dlopen(fixture_path("not_to_open").c_str(), RTLD_NOW)) << "nor does the system's loader";
  EXPECT_FALSE(::dlopen(fixture_path("program.so").c_str(), RTLD_NOW));
}

// Alone in its process, so that nobody has made the stacks executable before.
TEST(Lifecycle, ALibraryThatRunsCodeOnTheStackMay) {
  ExistingThread existing;
  auto space = make_namespace();
  Library* library = load_fixture(*space, "executable_stack");
  const auto run = [&] { return call(*space, library, "check"); };
  EXPECT_EQ(run(), 0);
  EXPECT_EQ(existing.run(run), 0);
}

TEST(Lifecycle, TheDestructorOfANamespaceUnloads) {
  take_log();
  {
    auto space = make_namespace();
    load_fixture(*space, "static_objects");
  }
  EXPECT_EQ(take_log(), (std::vector<int>{1, 2, -2, -1}));
  EXPECT_EQ(mappings_of("libfx_"), 0);
}

}  // namespace

}  // namespace deploy::loader
