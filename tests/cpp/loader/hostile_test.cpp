#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <set>

#include "lib/loader/classify.h"
#include "tests/cpp/loader/fixture_namespace.h"
#include "tests/fuzz/parse_everything.h"

// Damaged files: cut off anywhere, or with bits flipped anywhere but in the code. Parsing never fails otherwise than with an error;
// nor do mapping and relocating, which run in a child process, of a library that has no code to run at load.

namespace deploy::loader {

namespace {

bool parses(const std::string& content) {
  const std::vector<char> copy(content.begin(), content.end());  // its own allocation: a sanitizer sees every byte beyond
  return parse_everything(std::as_bytes(std::span(copy)));
}

// Where flips hurt: everything up to the section headers that is not code.
std::vector<std::size_t> targets(const std::string& fixture, const std::string& content) {
  auto file = LibraryFile::open(fixture_path(fixture));
  std::vector<std::size_t> list;
  std::size_t end = 0;
  for (const Segment& s : file->image().segments) end = std::max<std::size_t>(end, s.offset + s.file_size);
  for (std::size_t at = 0; at < std::min(end, content.size()); ++at) {
    bool is_code = false;
    for (const Segment& s : file->image().segments)
      is_code |= (s.protection & PROT_EXEC) != 0 && at >= s.offset && at - s.offset < s.file_size;
    // Padding between the tables is nobody's; it would dilute the flips.
    if (!is_code && (content[at] != 0 || (at > 0 && content[at - 1] != 0) || at < 1024)) list.push_back(at);
  }
  return list;
}

std::string flipped(std::string content, const std::vector<std::size_t>& where, std::mt19937& random) {
  for (int flips = 1 + static_cast<int>(random() % 3); flips > 0; --flips)
    content[where[random() % where.size()]] ^= static_cast<char>(1u << (random() % 8));
  return content;
}

// Loads and unloads `count` files in child processes; the numbers of those that killed their process.
std::vector<int> deadly(int count, const std::function<std::string(int)>& file) {
  const TemporaryFolder folder;
  auto* next = static_cast<int*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  *next = 0;
  std::vector<int> dead;
  while (*next < count) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);
      while (*next < count) {
        const int i = (*next)++;
        const std::string path = folder.write("libfx_hostile_" + std::to_string(i) + ".so", file(i));
        auto space = make_namespace();
        if (space->load(path, Visibility::kLocal)) (void)space->unload();
        ::unlink(path.c_str());
      }
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (status != 0) dead.push_back(*next - 1);
    if (dead.size() > 20) break;
  }
  ::munmap(next, 4096);
  return dead;
}

class Hostile : public testing::TestWithParam<const char*> {
 protected:
  const std::string content_ = read_file(fixture_path(GetParam()));
};

TEST_P(Hostile, EveryTruncationIsParsedOrRefused) {
  ASSERT_TRUE(parses(content_));
  int refused = 0;
  for (std::size_t size = 0; size < content_.size(); ++size) refused += !parses(content_.substr(0, size));
  EXPECT_GT(refused, 1000);
}

TEST_P(Hostile, FlippedBitsAreParsedOrRefused) {
  const auto where = targets(GetParam(), content_);
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 20000; ++i) refused += !parses(flipped(content_, where, random));
  EXPECT_GT(refused, 100);
  EXPECT_LT(refused, 20000);
}

TEST_P(Hostile, TruncationsAreLoadedOrRefused) {
  EXPECT_EQ(
      deadly(static_cast<int>(content_.size() / 61), [&](int i) { return content_.substr(0, static_cast<std::size_t>(i) * 61); }),
      std::vector<int>{});
}

TEST_P(Hostile, FlippedBitsAreLoadedOrRefused) {
  const auto where = targets(GetParam(), content_);
  const auto file = [&](int i) {
    std::mt19937 random(static_cast<unsigned>(i));
    return flipped(content_, where, random);
  };
  EXPECT_EQ(deadly(2000, file), std::vector<int>{});
}

INSTANTIATE_TEST_SUITE_P(Loader, Hostile, testing::Values("bare", "bare_relr"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace

}  // namespace deploy::loader
