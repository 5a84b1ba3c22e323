#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <span>

#include "lib/support/file.h"
#include "tests/cpp/loader/fixture_namespace.h"

// What is private to a namespace and what is shared with the process (D1).

namespace deploy::loader {

namespace {

// The API that only a namespace's own library may define.
Policy api_policy() {
  Policy policy;
  policy.is_private_symbol = [](std::string_view symbol) { return symbol.starts_with("Api_"); };
  return policy;
}

std::string px(const char* name) { return fixture_path(std::string("libpx_") + name + ".so"); }

void* seen_by(Namespace& space, const std::string& path) {
  auto library = space.load(path, Visibility::kLocal);
  EXPECT_TRUE(library) << library.failure().message;
  auto function = space.symbol(*library, "address_seen");
  EXPECT_TRUE(function);
  return reinterpret_cast<void* (*)()>(*function)();
}

TEST(Policy, SharedLibrariesAreTheProcessesOwn) {
  void* handle = ::dlopen(px("plain").c_str(), RTLD_NOW);
  ASSERT_TRUE(handle);
  void* of_host = ::dlsym(handle, "plain_data");
  for (int i = 0; i < 2; ++i) {
    Policy policy = api_policy();
    policy.private_names = {"libpx_plain_user.so"};
    auto space = make_namespace("test", policy);
    EXPECT_EQ(seen_by(*space, px("plain_user")), of_host);
  }
}

TEST(Policy, ANameOnTheListIsPrivate) {
  auto first = make_namespace("a", [] {
    Policy p = api_policy();
    p.private_names = {"libpx_plain.so"};
    return p;
  }());
  auto second = make_namespace("b", [] {
    Policy p = api_policy();
    p.private_names = {"libpx_pl*"};
    return p;
  }());
  EXPECT_NE(seen_by(*first, px("plain_user")), seen_by(*second, px("plain_user")));
}

TEST(Policy, AReferenceToThePrivateApiMakesALibraryPrivateAndWhoeverNeedsIt) {
  std::vector<std::unique_ptr<Namespace>> spaces;
  std::vector<Library*> users;
  for (int i = 0; i < 2; ++i) {
    Namespace& space = *spaces.emplace_back(make_namespace("test", api_policy()));
    load_fixture(space, "policy_api", Visibility::kGlobal);
    auto opener = space.load(fixture_path("opener"), Visibility::kLocal);
    auto open = reinterpret_cast<void* (*)(const char*, int)>(*space.symbol(*opener, "open_library"));
    // dlopen by private code decides by the same rule: this one is private because a library that it needs is.
    auto* user = static_cast<Library*>(open(px("by_symbol").c_str(), RTLD_NOW));
    ASSERT_TRUE(user);
    EXPECT_EQ(call(space, user, "uses_leaf"), 11);
    users.push_back(user);
  }
  EXPECT_NE(*spaces[0]->symbol(users[0], "address_seen"), *spaces[1]->symbol(users[1], "address_seen"));
  EXPECT_NE(*spaces[0]->symbol(users[0], "leaf"), *spaces[1]->symbol(users[1], "leaf"));
  EXPECT_EQ(seen_by(*spaces[0], px("by_symbol")), seen_by(*spaces[1], px("by_symbol"))) << "what it needs besides is shared";
}

TEST(Policy, TheHostsOwnPrivateApiIsNeverUsed) {
  ASSERT_TRUE(::dlopen(fixture_path("libfx_policy_api.so").c_str(), RTLD_NOW | RTLD_GLOBAL));
  ASSERT_TRUE(::dlsym(RTLD_DEFAULT, "Api_number"));
  auto space = make_namespace("test", api_policy());
  auto library = space->load(px("leaf"), Visibility::kLocal);
  ASSERT_FALSE(library);
  EXPECT_EQ(library.failure().message,
            px("leaf") +
                ": undefined symbol 'Api_number'; no private library of the namespace defines it, and the host's own copy "
                "is never used");
}

TEST(Policy, ALibraryThatOnlyTheHostHasLoadedIsClassifiedToo) {
  ASSERT_TRUE(::dlopen(fixture_path("where/a/libfx_where.so").c_str(), RTLD_NOW));
  auto space = make_namespace();
  auto opener = space->load(fixture_path("opener"), Visibility::kLocal);
  auto open = reinterpret_cast<void* (*)(const char*, int)>(*space->symbol(*opener, "open_library"));
  EXPECT_EQ(open("libfx_where.so", RTLD_NOW | RTLD_NOLOAD), nullptr) << "the host's copy is not the namespace's";
  auto* library = static_cast<Library*>(open("libfx_where.so", RTLD_NOW));
  ASSERT_TRUE(library);
  EXPECT_EQ(call(*space, library, "where"), 1);
  EXPECT_EQ(mappings_of("where/a/libfx_where.so"), 10) << "two copies";
}

TEST(Policy, SharedNamesWinOverAllRules) {
  Policy policy = api_policy();
  policy.private_names = {"libpx_*"};
  policy.shared_names = {"libpx_plain.so"};
  void* handle = ::dlopen(px("plain").c_str(), RTLD_NOW);
  auto space = make_namespace("test", policy);
  EXPECT_EQ(seen_by(*space, px("plain_user")), ::dlsym(handle, "plain_data"));
}

TEST(Policy, QuietNamesArePrivateBesidePrivateLibrariesOnly) {
  Policy policy = api_policy();
  policy.private_quiet_names = {"libpx_plain.so"};
  void* handle = ::dlopen(px("plain").c_str(), RTLD_NOW);
  void* of_host = ::dlsym(handle, "plain_data");
  auto space = make_namespace("test", policy);
  load_fixture(*space, "policy_api", Visibility::kGlobal);
  EXPECT_NE(seen_by(*space, px("by_symbol")), of_host) << "its user is private";
  auto other = make_namespace("test", policy);
  auto opener = other->load(fixture_path("opener"), Visibility::kLocal);
  auto open = reinterpret_cast<void* (*)(const char*, int)>(*other->symbol(*opener, "open_library"));
  auto find = reinterpret_cast<void* (*)(void*, const char*)>(*other->symbol(*opener, "find_symbol"));
  auto seen = reinterpret_cast<void* (*)()>(find(open(px("plain_user").c_str(), RTLD_NOW), "address_seen"));
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen(), of_host) << "a shared user, and so shared";
}

TEST(Policy, LibrariesInAFolderOfTheNamespaceArePrivateAndSoAreTheirUsers) {
  TemporaryFolder folder;
  const std::string plain = folder.write("site/x.libs/libpx_plain.so", read_file(px("plain")));
  const std::string user = folder.write("site/x.libs/libpx_plain_user.so", read_file(px("plain_user")));
  const std::string outside = folder.write("libpx_plain_user.so", read_file(px("plain_user")));
  std::filesystem::create_directory_symlink(folder.path("site"), folder.path("link"));
  std::filesystem::create_directories(folder.path("site/y.libs"));
  std::filesystem::create_symlink(px("plain"), folder.path("site/y.libs/libpx_plain.so"));
  Policy policy;
  policy.private_folders = {folder.path("site")};
  std::set<void*> copies;
  std::vector<std::unique_ptr<Namespace>> spaces;
  const auto opened = [&](const std::string& path) {
    Namespace& space = *spaces.emplace_back(make_namespace("test", policy));
    auto opener = space.load(fixture_path("opener"), Visibility::kLocal);
    auto open = reinterpret_cast<void* (*)(const char*, int)>(*space.symbol(*opener, "open_library"));
    auto find = reinterpret_cast<void* (*)(void*, const char*)>(*space.symbol(*opener, "find_symbol"));
    void* handle = open(path.c_str(), RTLD_NOW);
    EXPECT_TRUE(handle) << path;
    return handle ? find(handle, "plain_data") : nullptr;
  };
  for (const std::string& path :
       {plain, plain, folder.path("link/x.libs/libpx_plain.so"), user, user, folder.path("site/x.libs/../y.libs/libpx_plain.so")})
    EXPECT_TRUE(copies.insert(opened(path)).second) << path << " is one that another namespace has";
  ASSERT_TRUE(::setenv("LD_LIBRARY_PATH", folder.path("site/x.libs").c_str(), 1) == 0);
  EXPECT_TRUE(copies.insert(opened(outside)).second) << "it needs one of the folder";
  ::unsetenv("LD_LIBRARY_PATH");
  void* handle = ::dlopen(plain.c_str(), RTLD_NOW);
  ASSERT_TRUE(handle);
  EXPECT_FALSE(copies.contains(::dlsym(handle, "plain_data"))) << "the host's own copy";
  const std::string neighbour = folder.write("site-packages/libpx_plain.so", read_file(px("plain")));
  EXPECT_EQ(opened(neighbour), opened(neighbour)) << "a folder whose name begins alike";
}

TEST(Policy, StatelessLibrariesOfAFolderAreSharedAndDoNotFollowWhatTheyNeed) {
  TemporaryFolder folder;
  folder.write("site/libpx_plain.so", read_file(px("plain")));
  const std::string user = folder.write("site/libpx_plain_user.so", read_file(px("plain_user")));
  Policy policy;
  policy.private_folders = {folder.path("site")};
  policy.stateless_names = {"libpx_plain_u*"};
  policy.private_names = {"libfx_where_opener.so"};
  void* handle = ::dlopen(user.c_str(), RTLD_NOW);
  ASSERT_TRUE(handle);
  void* of_host = reinterpret_cast<void* (*)()>(::dlsym(handle, "address_seen"))();
  auto space = make_namespace("test", policy);
  auto opener = space->load(fixture_path("opener"), Visibility::kLocal);
  auto open = reinterpret_cast<void* (*)(const char*, int)>(*space->symbol(*opener, "open_library"));
  auto find = reinterpret_cast<void* (*)(void*, const char*)>(*space->symbol(*opener, "find_symbol"));
  EXPECT_EQ(reinterpret_cast<void* (*)()>(find(open(user.c_str(), RTLD_NOW), "address_seen"))(), of_host);
  void* own = find(open(folder.path("site/libpx_plain.so").c_str(), RTLD_NOW), "plain_data");
  EXPECT_NE(own, of_host) << "what it needs is private for all others";
}

TEST(Policy, AStatelessLibraryThatUsesThePrivateApiIsPrivateAllTheSame) {
  Policy policy = api_policy();
  policy.private_folders = {DEPLOY_FIXTURES};
  policy.stateless_names = {"libpx_*"};
  std::set<void*> copies;
  std::vector<std::unique_ptr<Namespace>> spaces;
  for (int i = 0; i < 2; ++i) {
    Namespace& space = *spaces.emplace_back(make_namespace("test", policy));
    load_fixture(space, "policy_api", Visibility::kGlobal);
    auto user = space.load(px("by_symbol"), Visibility::kLocal);
    ASSERT_TRUE(user) << user.failure().message;
    EXPECT_TRUE(copies.insert(*space.symbol(*user, "leaf")).second);
    EXPECT_EQ(call(space, *user, "uses_leaf"), 11);
  }
}

TEST(Policy, NamesThatAreKnownToKeepStateArePrivateWhereverTheyLie) {
  Policy policy;
  policy.stateful_names = {"libpx_pl*n.so"};
  auto first = make_namespace("a", policy), second = make_namespace("b", policy);
  EXPECT_NE(seen_by(*first, px("plain_user")), seen_by(*second, px("plain_user")));
  policy.stateless_names = {"libpx_plain.so"};
  auto third = make_namespace("c", policy), fourth = make_namespace("d", policy);
  EXPECT_EQ(seen_by(*third, px("plain_user")), seen_by(*fourth, px("plain_user"))) << "stateless_names wins";
}

TEST(Policy, EmbeddedLibrariesAreFoundByTheirVirtualPathAndByOrigin) {
  constexpr std::size_t kPage = 4096;
  std::string content(kPage, 'x');  // something before them
  std::vector<std::pair<std::string, EmbeddedFile>> files;
  for (const char* fixture : {"libfx_provider.so", "libfx_user_now.so"}) {
    const std::string bytes = read_file(fixture_path(fixture));
    files.push_back({std::string("<image>/") + fixture, {-1, content.size(), bytes.size()}});
    content += bytes;
    content.resize((content.size() + kPage - 1) / kPage * kPage);
  }
  auto memory = FileDescriptor::sealed_memory("test", std::as_bytes(std::span(content)));
  ASSERT_TRUE(memory);
  NamespaceOptions options;
  options.name = "embedded";
  options.policy = fixture_policy();
  options.embedded = [&](std::string_view path) -> std::optional<EmbeddedFile> {
    for (auto [name, file] : files) {
      file.fd = memory->get();
      if (name == path) return file;
    }
    return std::nullopt;
  };
  auto space = Namespace::create(std::move(options));
  ASSERT_TRUE(space);
  auto library = (*space)->load("<image>/libfx_user_now.so", Visibility::kLocal);
  ASSERT_TRUE(library) << library.failure().message;
  EXPECT_EQ(call(**space, *library, "check"), 0);
  EXPECT_EQ(mappings_of("libfx_"), 0) << "nothing came from the file system";
  EXPECT_EQ(*(*space)->load("<image>/libfx_user_now.so", Visibility::kLocal), *library);
}

}  // namespace

}  // namespace deploy::loader
