#include <gmock/gmock.h>

#include "tests/cpp/guest/guest_test.h"

namespace deploy::guest {
namespace {

using testing::HasSubstr;

class ModulesTest : public GuestTest {
 protected:
  // The error's message, or nothing.
  std::string register_source(std::string_view name, std::string_view source) {
    report = Report();
    const int status = register_module(text_of(name), text_of(source), &report);
    EXPECT_EQ(status == 0 ? 0 : 1, report.count);
    return report.message;
  }
  std::string global_told(std::string_view module, std::string_view name) {
    report = Report();
    Ref object(borrowed(global(text_of(module), text_of(name), &report)));
    if (!object) return report.message;
    Recorder recorder;
    EXPECT_EQ(to_value(handle(object.get()), &recorder, &report), 0);
    return recorder.text;
  }
  void TearDown() override {
    run("import sys\n"
        "for name in ('mine', 'mine.sub', 'mine.sub.leaf'):\n"
        "  sys.modules.pop(name, None)\n"
        "  if '_deploy.registered' in sys.modules: sys.modules['_deploy.registered']._sources.pop(name, None)\n");
    GuestTest::TearDown();
  }
};

TEST_F(ModulesTest, ImportModuleGivesTheModuleThatWasNamed) {
  Ref module(borrowed(import_module(text_of("collections.abc"), &report)));
  ASSERT_TRUE(module);
  EXPECT_STREQ(PyModule_GetName(module.get()), "collections.abc");
}

TEST_F(ModulesTest, AModuleThatIsNotThereIsAModuleNotFoundError) {
  EXPECT_EQ(import_module(text_of("no.such"), &report), nullptr);
  EXPECT_EQ(report.error_code, ErrorCode::kPython);
  EXPECT_EQ(report.python_type, "ModuleNotFoundError");
  EXPECT_EQ(report.message, "ModuleNotFoundError: No module named 'no'");
}

TEST_F(ModulesTest, GlobalFollowsDots) {
  EXPECT_EQ(global_told("os", "path.sep"), "'/'");
  EXPECT_EQ(global_told("os.path", "sep"), "'/'");
  EXPECT_EQ(global_told("os", "path.nothing"), "AttributeError: module 'posixpath' has no attribute 'nothing'");
}

TEST_F(ModulesTest, ARegisteredModuleIsImported) {
  EXPECT_EQ(register_source("mine", "x = 5\nname = __name__\nfile = __file__\n"), "");
  EXPECT_EQ(global_told("mine", "x"), "5");
  EXPECT_EQ(global_told("mine", "name"), "'mine'");
  EXPECT_EQ(global_told("mine", "file"), "'<registered>/mine.py'");
  EXPECT_EQ(global_told("mine", "__spec__.name"), "'mine'");
}

TEST_F(ModulesTest, TheCodeRunsAtTheFirstImportOnly) {
  run("import sys\nsys.runs = 0");
  register_source("mine", "import sys\nsys.runs += 1\n");
  EXPECT_EQ(told("sys.runs"), "0");
  run("import mine\nimport mine");
  EXPECT_EQ(told("sys.runs"), "1");
}

TEST_F(ModulesTest, ARegisteredModuleIsReplacedUntilItIsImported) {
  register_source("mine", "x = 1");
  EXPECT_EQ(register_source("mine", "x = 2"), "");
  EXPECT_EQ(global_told("mine", "x"), "2");
  EXPECT_EQ(register_source("mine", "x = 2"), "");
  EXPECT_EQ(register_source("mine", "x = 3"),
            "module 'mine' is already imported in this interpreter; register it before its first import");
  EXPECT_EQ(report.error_code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(global_told("mine", "x"), "2");
}

TEST_F(ModulesTest, AModuleIsAPackageOnceAModuleBelowItIsRegistered) {
  register_source("mine", "from .sub import leaf\nx = leaf.x");
  register_source("mine.sub", "");
  register_source("mine.sub.leaf", "x = __package__");
  EXPECT_EQ(global_told("mine", "x"), "'mine.sub'");
  EXPECT_EQ(global_told("mine", "__file__"), "'<registered>/mine/__init__.py'");
}

TEST_F(ModulesTest, AModuleThatWasImportedBecomesAPackageToo) {
  register_source("mine", "x = 1");
  EXPECT_EQ(global_told("mine", "x"), "1");
  register_source("mine.sub", "y = 2");
  EXPECT_EQ(global_told("mine.sub", "y"), "2");
  EXPECT_EQ(global_told("mine", "sub.y"), "2");
}

TEST_F(ModulesTest, AModuleBelowNothingIsNotFound) {
  EXPECT_EQ(register_source("mine.sub", "x = 1"), "");
  EXPECT_EQ(global_told("mine.sub", "x"), "ModuleNotFoundError: No module named 'mine'");
}

TEST_F(ModulesTest, ASyntaxErrorSurfacesAtTheImportAndTheSourceCanBeMended) {
  EXPECT_EQ(register_source("mine", "x = (\n"), "");
  EXPECT_EQ(global_told("mine", "x"), "SyntaxError: '(' was never closed (mine.py, line 1)");
  EXPECT_EQ(report.error_code, ErrorCode::kPython);
  EXPECT_EQ(report.python_type, "SyntaxError");
  EXPECT_EQ(register_source("mine", "x = 1"), "");
  EXPECT_EQ(global_told("mine", "x"), "1");
}

TEST_F(ModulesTest, TracebacksAndInspectShowTheSource) {
  register_source("mine", "def f(x):\n    return 1 / x  # here\n");
  run("import mine, inspect");
  EXPECT_EQ(called("mine.f", {Values::integer(0)}), "ZeroDivisionError: division by zero");
  EXPECT_THAT(report.traceback, HasSubstr("File \"<registered>/mine.py\", line 2, in f\n    return 1 / x  # here\n"));
  EXPECT_EQ(told("inspect.getsource(mine.f)"), "'def f(x):\n    return 1 / x  # here\n'");
}

TEST_F(ModulesTest, ANameThatIsNoneIsRefused) {
  EXPECT_EQ(register_source("a..b", ""), "'a..b' is no module name: expected identifiers with dots between them");
  EXPECT_EQ(report.error_code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(register_source("", ""), "'' is no module name: expected identifiers with dots between them");
  EXPECT_EQ(register_source("sys", ""),
            "module 'sys' is already imported in this interpreter; register it before its first import");
  EXPECT_THAT(register_source("mine", "\xff"), HasSubstr("the source of a module is not UTF-8"));
}

}  // namespace
}  // namespace deploy::guest
