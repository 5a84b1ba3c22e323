#include "deploy/backtrace.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "tests/cpp/loader/fixture_namespace.h"

namespace deploy::loader {

namespace {

void on_crash(int) {
  print_backtrace(STDERR_FILENO);
  ::_exit(1);
}

void crash_in(Namespace& space, Library* library) {
  struct sigaction action{};
  action.sa_handler = on_crash;
  ::sigaction(SIGSEGV, &action, nullptr);
  auto fall = space.symbol(library, "fall");
  if (fall) reinterpret_cast<int (*)(volatile int*, int)>(*fall)(nullptr, 3);
}

}  // namespace

TEST(Backtrace, ACrashHandlerOfTheHostSeesPrivateFramesAndThoseBelow) {
  auto space = make_namespace("space-7");
  Library* library = load_fixture(*space, "crash");
  ASSERT_TRUE(library);
  const std::string private_frame = "#[0-9]+ +[^ ]*/libfx_crash\\.so\\+0x[0-9a-f]+ \\(space-7\\)\n";
  EXPECT_EXIT(
      crash_in(*space, library), testing::ExitedWithCode(1),
      "#0 [^\n]*\n(.*\n)*" + private_frame + private_frame + private_frame + private_frame + "#[0-9]+ +[^ ]*loader_test\\+0x");
}

TEST(Backtrace, AnAddressIsOfThePrivateCopyThatHoldsIt) {
  auto one = make_namespace("one"), two = make_namespace("two");
  std::uintptr_t offset = 0;
  for (auto* space : {one.get(), two.get()}) {
    auto function = space->symbol(load_fixture(*space, "crash"), "check");
    ASSERT_TRUE(function);
    CodeLocation where;
    ASSERT_TRUE(locate_code(*function, where));
    EXPECT_EQ(where.library, fixture_path("crash"));
    EXPECT_STREQ(where.interpreter, space == one.get() ? "one" : "two");
    EXPECT_EQ(std::exchange(offset, where.offset), space == one.get() ? 0 : where.offset);
  }
}

TEST(Backtrace, AnAddressOfTheSystemsLibrariesIsNamedToo) {
  CodeLocation where;
  ASSERT_TRUE(locate_code(reinterpret_cast<const void*>(&::getpid), where));
  EXPECT_TRUE(std::string(where.library).find("libc.so.6") != std::string::npos) << where.library;
  EXPECT_EQ(where.interpreter, nullptr);
  ASSERT_TRUE(locate_code(reinterpret_cast<const void*>(&on_crash), where));
  EXPECT_TRUE(std::string(where.library).ends_with("loader_test")) << where.library;
  int on_the_stack = 0;
  EXPECT_FALSE(locate_code(&on_the_stack, where));
}

}  // namespace deploy::loader
