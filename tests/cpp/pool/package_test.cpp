// Packages of plain Python, in interpreters without torch.
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include "tests/cpp/pool/pool_testing.h"

namespace deploy {
namespace {

using ::testing::AllOf;
using testing::call_global;
using ::testing::Contains;
using testing::error_of;
using ::testing::HasSubstr;
using testing::package_path;

class PackageTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { manager_ = std::make_unique<InterpreterManager>(ManagerOptions{.interpreters = 2}); }
  static void TearDownTestSuite() { manager_.reset(); }

  static Package load(const std::string& name) { return manager_->load_package(package_path(name)); }
  // A file of the test's own.
  static std::string write(const std::string& content) {
    const std::string path = package_path("damaged_" + std::to_string(::getpid()) + ".pt");
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  static std::unique_ptr<InterpreterManager> manager_;
};

std::unique_ptr<InterpreterManager> PackageTest::manager_;

TEST_F(PackageTest, AnObjectIsCalledOnAnyInterpreter) {
  const ReplicatedObject twice = load("plain.pt").load_pickle("model", "double.pkl");
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 101; ++i) EXPECT_EQ(twice(i).as_int(), 2 * i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(PackageTest, ItsCodeAndObjectsNeedNoTorch) {
  const ReplicatedObject counter = load("plain.pt").load_pickle("model", "counter.pkl");
  InterpreterSession session = counter.acquire_session();
  EXPECT_EQ(session.from_replicated(counter).call({2}).to_value().as_int(), 7);
  EXPECT_EQ(session.global("sys", "modules").call_method("get", {"torch"}).to_value().kind(), Value::Kind::kNone);
}

TEST_F(PackageTest, MethodsKeywordsAndAttributesWork) {
  const ReplicatedObject counter = load("plain.pt").load_pickle("model", "counter.pkl");
  EXPECT_EQ(counter.call_method("as_json").as_str(), "{\"value\": 5}");
  EXPECT_EQ(counter.call_method("point").items().size(), 2u);
  EXPECT_EQ(counter.call({}, {{"step", 10}}).as_int(), 15);
  InterpreterSession session = counter.acquire_session();
  Object object = session.from_replicated(counter);
  EXPECT_TRUE(object.hasattr("value"));
  EXPECT_FALSE(object.hasattr("values"));
  EXPECT_EQ(object.type_name(), "plain_code.Counter");
}

TEST_F(PackageTest, AttributeWritesStayInTheirInterpreter) {
  const ReplicatedObject counter = load("plain.pt").load_pickle("model", "counter.pkl");
  counter.preload();
  std::vector<std::int64_t> values;
  for (Interpreter interpreter : manager_->interpreters()) {
    InterpreterSession session = interpreter.acquire_session();
    values.push_back(session.from_replicated(counter).call({}).to_value().as_int());
  }
  EXPECT_EQ(values, (std::vector<std::int64_t>{6, 6}));
}

TEST_F(PackageTest, TextsBinariesAndRecordsAreRead) {
  const Package package = load("plain_data.pt");
  EXPECT_EQ(package.load_text("extra", "labels.txt"), "cat\nd\xc3\xb6g\n");
  EXPECT_EQ(package.load_binary("extra", "blob").size(), 256u);
  EXPECT_EQ(package.path(), package_path("plain_data.pt"));
  EXPECT_THAT(package.records(), Contains("plain_code.py"));
  const Error error = error_of([&] { package.load_text("extra", "blob"); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message(), HasSubstr("'extra/blob'"));
}

TEST_F(PackageTest, DeflatedRecordsAreRead) {
  const Package package = load("deflated.pt");
  EXPECT_EQ(package.load_text("extra", "labels.txt"), "cat\nd\xc3\xb6g\n");
  EXPECT_EQ(package.load_pickle("model", "double.pkl")(4).as_int(), 8);
}

TEST_F(PackageTest, ResourcesAreReadByThePackagesCode) {
  const ReplicatedObject reader = load("resources.pt").load_pickle("model", "model.pkl");
  EXPECT_EQ(reader.call_method("by_importer").as_str(), "cat\n");
  EXPECT_EQ(reader.call_method("by_resources").as_str(), "one two\n");
}

TEST_F(PackageTest, TwoPackagesWithTheSameModuleNamesKeepApart) {
  const Package first = load("version_a.pt"), second = load("version_b.pt");
  const ReplicatedObject a = first.load_pickle("model", "model.pkl"), b = second.load_pickle("model", "model.pkl");
  for (Interpreter interpreter : manager_->interpreters()) {
    InterpreterSession session = interpreter.acquire_session();
    EXPECT_EQ(session.from_replicated(a).call({}).to_value().as_str(), "a, helped by a");
    EXPECT_EQ(session.from_replicated(b).call({}).to_value().as_str(), "b, helped by b");
  }
}

TEST_F(PackageTest, OneFileOpenedTwiceIsOnePackage) {
  const ReplicatedObject first = load("plain.pt").load_pickle("model", "counter.pkl");
  const ReplicatedObject second = load("plain.pt").load_pickle("model", "counter.pkl");
  InterpreterSession session = first.acquire_session();
  EXPECT_EQ(session.from_replicated(first)(1).to_value().as_int(), 6);
  EXPECT_EQ(session.from_replicated(second)(1).to_value().as_int(), 6);
  EXPECT_EQ(session.from_replicated(second).type_name(), "plain_code.Counter");
}

TEST_F(PackageTest, ADroppedPackageLeavesEveryInterpreter) {
  const auto imported = [&](InterpreterSession& session) {
    return !session.global("sys", "modules").call_method("get", {"versioned"}).str().starts_with("None");
  };
  {
    const ReplicatedObject model = load("version_a.pt").load_pickle("model", "model.pkl");
    model.preload();
    for (Interpreter interpreter : manager_->interpreters()) {
      InterpreterSession session = interpreter.acquire_session();
      EXPECT_TRUE(imported(session));
    }
  }
  for (Interpreter interpreter : manager_->interpreters()) {
    InterpreterSession session = interpreter.acquire_session();
    EXPECT_FALSE(imported(session));
  }
}

TEST_F(PackageTest, AnExceptionOfTheModelIsAnErrorAndTheNextCallWorks) {
  const ReplicatedObject model = load("misbehaving.pt").load_pickle("model", "model.pkl");
  const Error error = error_of([&] { model("raise"); });
  EXPECT_EQ(error.code(), ErrorCode::kPython);
  EXPECT_EQ(error.python_type(), "ValueError");
  EXPECT_EQ(error.message(), "ValueError: cannot use 'raise'");
  EXPECT_THAT(error.traceback(), AllOf(HasSubstr("misbehaving.py"), HasSubstr("_fail(kind)")));
  EXPECT_THAT(error_of([&] { model("chain"); }).traceback(), AllOf(HasSubstr("direct cause"), HasSubstr("the model gave up")));
  EXPECT_EQ(model("fine").as_str(), "fine");
}

TEST_F(PackageTest, ExitAndInterruptAreErrorsToo) {
  const ReplicatedObject model = load("misbehaving.pt").load_pickle("model", "model.pkl");
  EXPECT_EQ(error_of([&] { model("exit"); }).python_type(), "SystemExit");
  EXPECT_EQ(error_of([&] { model("interrupt"); }).python_type(), "KeyboardInterrupt");
  EXPECT_EQ(model("fine").as_str(), "fine");
}

TEST_F(PackageTest, APartOfAResultThatIsNoValueIsAnObjectAndCanBeHeldBySessions) {
  const ReplicatedObject model = load("misbehaving.pt").load_pickle("model", "model.pkl");
  const Value result = model("opaque");
  EXPECT_EQ(result.repr(), "{\"result\": [Object(misbehaving.Opaque)]}");
  EXPECT_EQ(result.at("result").at(0).as_object().type_name(), "misbehaving.Opaque");
  InterpreterSession session = model.acquire_session();
  const Object held = session.from_replicated(model)("opaque");
  EXPECT_EQ(held.type_name(), "dict");
}

TEST_F(PackageTest, APickleThatIsNotThereIsNamedWithThoseThatAre) {
  const Package package = load("plain.pt");
  for (const auto& [module, resource] : {std::pair("model", "other.pkl"), std::pair("other", "model.pkl")}) {
    const Error error = error_of([&] { package.load_pickle(module, resource); });
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_THAT(error.message(),
                AllOf(HasSubstr("has no record '" + std::string(module) + "/" + resource + "'"), HasSubstr("model/counter.pkl")));
  }
  EXPECT_EQ(error_of([&] { package.load_text("extra", "../x"); }).code(), ErrorCode::kInvalidArgument);
}

TEST_F(PackageTest, APickleThatFailsGivesThePythonError) {
  const Package package = load("misbehaving.pt");
  EXPECT_EQ(error_of([&] { package.load_pickle("model", "garbage.pkl"); }).python_type(), "_pickle.UnpicklingError");
  EXPECT_THAT(error_of([&] { package.load_pickle("model", "fails.pkl"); }).message(), HasSubstr("cannot use 'the pickle'"));
  EXPECT_EQ(package.load_pickle("model", "model.pkl")("fine").as_str(), "fine");
}

TEST_F(PackageTest, AllMissingExternsAreNamedAtOnce) {
  const Error error = error_of([&] { load("absent.pt"); });
  EXPECT_EQ(error.code(), ErrorCode::kMissingExtern);
  EXPECT_THAT(error.message(), HasSubstr("needs 2 modules that the environment does not have: absent_one, absent_two.deep"));
}

TEST_F(PackageTest, AFileThatIsNotWhatWasAskedForIsRefused) {
  const std::string path = package_path("plain.pt");
  const Error digest = error_of([&] { manager_->load_package(path, {.sha256 = std::string(64, '0')}); });
  EXPECT_EQ(digest.code(), ErrorCode::kUntrusted);
  EXPECT_THAT(digest.message(), HasSubstr("; expected " + std::string(64, '0')));
  const std::string key =
      "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
  const Error signature = error_of([&] { manager_->load_package(path, {.trusted_keys = {key}}); });
  EXPECT_EQ(signature.code(), ErrorCode::kUntrusted);
  EXPECT_THAT(signature.message(),
              HasSubstr("is not signed; expected a signature by 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="));
  EXPECT_EQ(manager_->load_package(path, {.in_memory = true}).load_pickle("model", "double.pkl")(21).as_int(), 42);
}

TEST_F(PackageTest, APlainPackageHasNoManifestAndRunsOnTheManagersInterpreters) {
  const Package package = load("plain.pt");
  EXPECT_FALSE(package.manifest());
  EXPECT_FALSE(read_manifest(package.path()));
  EXPECT_FALSE(package_signer(package.path()));
  ASSERT_EQ(package.interpreters().size(), 2u);
  EXPECT_EQ(package.interpreters()[0].id(), manager_->interpreters()[0].id());
}

TEST_F(PackageTest, APackageThatNeedsWhatIsNotAllowedIsRefused) {
  InterpreterManager manager({.environment = {.allowed_externs = std::vector<std::string>{"!json"}}});
  const Error error = error_of([&] { manager.load_package(package_path("plain.pt")); });
  EXPECT_EQ(error.code(), ErrorCode::kUntrusted);
  EXPECT_THAT(error.message(), HasSubstr("needs modules that the environment's allowed_externs leave out: json"));
}

TEST_F(PackageTest, FilesThatAreNoPackagesAreRefused) {
  EXPECT_EQ(error_of([&] { load("none.pt"); }).code(), ErrorCode::kNotFound);
  EXPECT_EQ(error_of([&] { load("."); }).code(), ErrorCode::kInvalidPackage);
  EXPECT_THAT(error_of([&] { manager_->load_package(write("")); }).message(), HasSubstr("is empty (0 bytes)"));
  const std::string whole = read(package_path("plain.pt"));
  for (std::size_t size = 1; size < whole.size(); size += whole.size() / 20) {
    const std::string path = write(whole.substr(0, size));
    EXPECT_EQ(error_of([&] { manager_->load_package(path); }).code(), ErrorCode::kInvalidPackage) << size;
  }
  std::remove(write("").c_str());
}

TEST_F(PackageTest, PathsAndNamesThatNoneCanHaveAreArguments) {
  const std::string nul("a\0b", 3);
  const Package package = load("plain.pt");
  for (const std::string& path : {nul, std::string(), std::string(300, 'x')}) {
    EXPECT_EQ(error_of([&] { manager_->load_package(path); }).code(), ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(error_of([&] { manager_->load_package(package.path(), {.trusted_keys = {nul}}); }).code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error_of([&] { package.load_text(nul, "x"); }).message(), HasSubstr("package 'a\\x00b' has a NUL character"));
  EXPECT_THAT(error_of([&] { package.load_pickle("model", nul); }).message(), HasSubstr("resource 'a\\x00b' has a NUL character"));
  EXPECT_EQ(error_of([&] { package_signer(nul); }).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(package.load_pickle("model", "double.pkl")(4).as_int(), 8);
}

TEST_F(PackageTest, HandlesMayOutliveTheManager) {
  auto manager = std::make_unique<InterpreterManager>(ManagerOptions{.interpreters = 1});
  const Package package = manager->load_package(package_path("plain.pt"));
  const ReplicatedObject twice = package.load_pickle("model", "double.pkl");
  manager.reset();
  EXPECT_EQ(error_of([&] { twice(1); }).code(), ErrorCode::kClosed);
  EXPECT_EQ(error_of([&] { twice.preload(); }).code(), ErrorCode::kClosed);
  EXPECT_EQ(error_of([&] { package.load_pickle("model", "double.pkl"); }).code(), ErrorCode::kClosed);
}

}  // namespace
}  // namespace deploy
