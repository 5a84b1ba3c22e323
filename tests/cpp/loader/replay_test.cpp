#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "lib/loader/library_file.h"
#include "tests/cpp/loader/fixture_namespace.h"

// What the first load of a set of libraries leaves for the next: where it may be used, and where it must not.

namespace deploy::loader {

namespace {

// A fixture as a file in memory, which the loader takes as never changing.
class InMemory {
 public:
  explicit InMemory(const std::string& fixture) : path_("/embedded/libfx_" + fixture + ".so") {
    const std::string content = read_file(fixture_path(fixture));
    size_ = content.size();
    file_ = FileDescriptor(::memfd_create(fixture.c_str(), MFD_CLOEXEC));
    EXPECT_EQ(::pwrite(file_.get(), content.data(), size_, 0), static_cast<ssize_t>(size_));
  }
  const std::string& path() const { return path_; }
  int fd() const { return file_.get(); }
  std::pair<const std::string, EmbeddedFile> entry() const { return {path_, {file_.get(), 0, size_}}; }

 private:
  std::string path_;
  std::size_t size_ = 0;
  FileDescriptor file_;
};

void* static_of(Namespace& space, const InMemory& file) {
  auto library = space.load(file.path(), Visibility::kLocal);
  EXPECT_TRUE(library) << library.failure().message;
  return reinterpret_cast<void* (*)()>(*space.symbol(*library, "address_of_unique"))();
}

// The tables are overwritten between the loads, but for the RELATIVE relocations in front: whoever reads them fails.
TEST(Replay, ReadsNoRelocationsThatHaveASymbol) {
  const InMemory file("bare");
  auto parsed = LibraryFile::open(EmbeddedFile{file.entry().second});
  ASSERT_TRUE(parsed);
  auto first = make_namespace_with({file.entry()}), second = make_namespace_with({file.entry()});
  ASSERT_TRUE(first->load(file.path(), Visibility::kLocal));
  const DynamicTable& tables = parsed->dynamic();
  struct stat before{};
  ASSERT_EQ(::fstat(file.fd(), &before), 0);
  const std::size_t size = file.entry().second.size;
  auto* bytes = static_cast<char*>(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd(), 0));
  ASSERT_NE(bytes, MAP_FAILED);
  ASSERT_LE(tables.relocations.end(), size) << "the fixture's first segment starts at 0, so that addresses are offsets";
  ASSERT_LE(tables.plt_relocations.end(), size);
  auto* relocations = reinterpret_cast<Elf64_Rela*>(bytes + tables.relocations.vaddr);
  auto* end = relocations + tables.relocations.size / sizeof(Elf64_Rela);
  auto* symbolic = std::find_if(relocations, end, [](const auto& r) { return ELF64_R_TYPE(r.r_info) != R_X86_64_RELATIVE; });
  ASSERT_LT(symbolic, end);
  std::memset(symbolic, 0x7f, static_cast<std::size_t>(end - symbolic) * sizeof(Elf64_Rela));
  std::memset(bytes + tables.plt_relocations.vaddr, 0x7f, tables.plt_relocations.size);
  ::munmap(bytes, size);
  const timespec times[] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(::futimens(file.fd(), times), 0);
  auto library = second->load(file.path(), Visibility::kLocal);
  ASSERT_TRUE(library) << library.failure().message;
  auto** pointers = reinterpret_cast<int**>(*second->symbol(*library, "bare_pointers"));
  auto* data = reinterpret_cast<int*>(*second->symbol(*library, "bare_data"));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(pointers[i], data + i);
  auto* system = *reinterpret_cast<long (**)(const char*, char**, int)>(*second->symbol(*library, "bare_system"));
  EXPECT_EQ(system("42", nullptr, 10), 42);
}

TEST(Replay, AUniqueSymbolThatAnEarlierLoadDefinedHoldsAlthoughTheFirstNamespaceHadNone) {
  const InMemory a("unique_a"), b("unique_b");
  auto alone = make_namespace_with({a.entry(), b.entry()});
  static_of(*alone, a);
  for (int i = 0; i < 2; ++i) {
    auto after_b = make_namespace_with({a.entry(), b.entry()});
    void* of_b = static_of(*after_b, b);
    EXPECT_EQ(static_of(*after_b, a), of_b);
  }
  auto again = make_namespace_with({a.entry(), b.entry()});
  void* of_a = static_of(*again, a);
  EXPECT_EQ(static_of(*again, b), of_a);
}

TEST(Replay, AUniqueSymbolIsTheLibrarysOwnAlthoughTheFirstNamespaceHadAnother) {
  const InMemory a("unique_a"), b("unique_b");
  auto both = make_namespace_with({a.entry(), b.entry()});
  static_of(*both, b);
  static_of(*both, a);
  auto alone = make_namespace_with({a.entry(), b.entry()});
  const auto library = alone->load(a.path(), Visibility::kLocal);
  ASSERT_TRUE(library);
  auto* own = reinterpret_cast<void* (*)()>(*alone->symbol(*library, "address_of_unique"))();
  EXPECT_EQ(own, static_of(*alone, b)) << "the first to define it is the one";
  EXPECT_NE(own, static_of(*both, a));
}

// The time of modification can be set, and a file's size can stay.
TEST(Replay, AFileThatWasRewrittenInPlaceIsReadAnew) {
  const TemporaryFolder folder;
  const std::string first = read_file(fixture_path("where/a/libfx_where.so")),
                    second = read_file(fixture_path("where/b/libfx_where.so"));
  ASSERT_EQ(first.size(), second.size());
  const std::string path = folder.write("libfx_where.so", first);
  const auto where = [&] {
    auto space = make_namespace();
    auto library = space->load(path, Visibility::kLocal);
    EXPECT_TRUE(library) << library.failure().message;
    return call(*space, *library, "where");
  };
  EXPECT_EQ(where(), 1);
  struct stat before{};
  ASSERT_EQ(::stat(path.c_str(), &before), 0);
  const auto rewrite = [&](const std::string& content) {
    folder.write("libfx_where.so", content);
    const timespec times[] = {before.st_atim, before.st_mtim};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  };
  rewrite(second);
  EXPECT_EQ(where(), 2) << "within the same tick of the file system's clock";
  std::this_thread::sleep_for(std::chrono::milliseconds(2500));
  EXPECT_EQ(where(), 2);
  rewrite(first);
  EXPECT_EQ(where(), 1) << "when the file had been old enough to be remembered";
}

}  // namespace

}  // namespace deploy::loader
