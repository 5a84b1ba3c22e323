#include <gtest/gtest.h>

#include <clocale>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "deploy/environment.h"
#include "deploy/error.h"
#include "tests/cpp/image/booted_guest.h"

namespace deploy::test {
namespace {

TEST(Boot, GivesNoTableToAHostOfAnotherVersion) {
  LoadedGuest guest;
  deploy_host newer{};
  newer.abi_version = DEPLOY_ABI_VERSION + 1;
  newer.size = sizeof newer;
  EXPECT_EQ(guest.entry()(&newer), nullptr);
  EXPECT_EQ(guest.entry()(nullptr), nullptr);
}

TEST(Boot, TableSaysThePythonVersion) {
  LoadedGuest guest;
  EXPECT_EQ(guest.table().abi_version, DEPLOY_ABI_VERSION);
  EXPECT_TRUE(std::string_view(guest.table().python_version).starts_with(std::string(python_version()) + "."));
}

TEST(Boot, RefusesATruncatedArchive) {
  LoadedGuest guest;
  GuestError error;
  EXPECT_EQ(guest.boot({}, Image::get().value()->stdlib().first(1000), error), -1);
  EXPECT_EQ(error.code, static_cast<int>(ErrorCode::kInternal));
  EXPECT_EQ(error.message, "the image's archive of the standard library: truncated");
}

TEST(Boot, RefusesWhatIsNoArchive) {
  LoadedGuest guest;
  GuestError error;
  const std::vector<std::byte> zeros(4096);
  EXPECT_EQ(guest.boot({}, zeros, error), -1);
  EXPECT_EQ(error.message, "the image's archive of the standard library: not an archive of this version");
}

TEST(Boot, GivesSeveralPythonsThatShareNothing) {
  BootedGuest first, second;
  EXPECT_EQ(first.exec("import sys; sys.only_here = 1"), "");
  EXPECT_EQ(second.eval("hasattr(__import__('sys'), 'only_here')"), "False");
  EXPECT_NE(first.eval("id(None)"), second.eval("id(None)"));
}

TEST(Boot, CanBeRepeatedInOneProcess) {
  for (int i = 0; i < 5; ++i) {
    BootedGuest guest;
    EXPECT_EQ(guest.exec("import json, ctypes, ssl, asyncio"), "");
  }
}

TEST(Boot, TakesSysPathFromTheHostAndFromNowhereElse) {
  setenv("PYTHONPATH", "/elsewhere", 1);
  setenv("PYTHONHOME", "/nowhere", 1);
  setenv("PYTHONSTARTUP", "/nothing.py", 1);
  BootedGuest guest({"/first", "/second"});
  EXPECT_EQ(guest.eval("__import__('sys').path"), "['/first', '/second']");
}

TEST(Boot, HasNoProgramAndNoArgumentsWithoutAnEnvironment) {
  BootedGuest guest;
  EXPECT_EQ(guest.eval("(__import__('sys').executable, __import__('sys').argv)"), "('', [''])");
}

TEST(Boot, TakesThePrefixesFromTheVirtualEnvironment) {
  namespace fs = std::filesystem;
  const fs::path venv = fs::path(testing::TempDir()) / "image_test_venv";
  const fs::path packages = venv / "lib" / (std::string("python") + python_version()) / "site-packages";
  fs::create_directories(packages);
  std::ofstream(venv / "pyvenv.cfg") << "home = /opt/somewhere/bin\nversion = 3\n";
  BootedGuest guest({packages.string()});
  EXPECT_EQ(guest.eval("__import__('sys').prefix"), venv.string());
  EXPECT_EQ(guest.eval("__import__('sys').base_prefix"), "/opt/somewhere");
  EXPECT_EQ(guest.eval("__import__('sysconfig').get_path('purelib')"), packages.string());
  EXPECT_EQ(guest.eval("__import__('sysconfig').get_path('include')"),
            std::string("/opt/somewhere/include/python") + python_version());
  EXPECT_EQ(guest.eval("__import__('sys').executable"), "");
  fs::remove_all(venv);
}

// What the process does at SIGINT and SIGPIPE, and its locale.
struct ProcessState {
  static ProcessState read() {
    struct sigaction interrupt, pipe;
    sigaction(SIGINT, nullptr, &interrupt);
    sigaction(SIGPIPE, nullptr, &pipe);
    return {interrupt.sa_handler, pipe.sa_handler, setlocale(LC_ALL, nullptr)};
  }
  bool operator==(const ProcessState&) const = default;
  void (*interrupt)(int) = nullptr;
  void (*pipe)(int) = nullptr;
  std::string locale = {};
};

void on_interrupt(int) {}

TEST(Boot, LeavesTheProcesssSignalsAndLocaleAlone) {
  for (const auto handler : {SIG_DFL, SIG_IGN, on_interrupt}) {
    std::signal(SIGINT, handler);
    const ProcessState before = ProcessState::read();
    {
      BootedGuest guest;
      EXPECT_EQ(guest.exec("import asyncio, locale, signal"), "");
      EXPECT_EQ(ProcessState::read(), before);
    }
    EXPECT_EQ(ProcessState::read(), before) << "after shutdown";
  }
  std::signal(SIGINT, SIG_DFL);
}

TEST(Boot, ReadsAndWritesUtf8WhateverTheLocale) {
  BootedGuest guest;
  EXPECT_EQ(guest.eval("(__import__('sys').getfilesystemencoding(), __import__('locale').getpreferredencoding(), "
                       "__import__('sys').stdout.encoding)"),
            "('utf-8', 'utf-8', 'utf-8')");
}

TEST(Boot, ShutdownRunsAtexitHandlersAndEndsThreads) {
  const std::string file = testing::TempDir() + "image_test_atexit";
  {
    BootedGuest guest;
    EXPECT_EQ(guest.exec("import atexit, threading\n"
                         "def last():\n"
                         "  with open('" +
                         file +
                         "', 'w') as stream: stream.write(str(threading.active_count()))\n"
                         "atexit.register(last)\n"
                         "threading.Thread(target=__import__('time').sleep, args=(0.05,)).start()\n"),
              "");
  }
  std::string content;
  std::ifstream(file) >> content;
  EXPECT_EQ(content, "1");
  std::filesystem::remove(file);
}

TEST(Boot, HasExitAndQuitAsAnyPython) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec("try: exit(3)\nexcept SystemExit as e: assert e.code == 3"), "");
}

}  // namespace
}  // namespace deploy::test
