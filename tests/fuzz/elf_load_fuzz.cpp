#include <elf.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/loader/elf_image.h"
#include "lib/loader/interpose.h"
#include "lib/loader/namespace.h"
#include "lib/loader/namespace_impl.h"
#include "lib/support/file.h"

// The libFuzzer target over loading: mapping, relocating, looking up and unloading, in a child process for each input. A child that
// dies of anything is a finding.
//
// A library may do what it wants once its code runs, so none does: entries for initialisers and finalisers are taken out of the
// dynamic section, and an input with resolver functions (IRELATIVE, indirect functions) is passed over. Each input is loaded twice,
// into two namespaces, the second one of which replays the first.
//
// The fuzzer finds its way by counters in this process's memory, which a child would count up in vain: the pages that hold them are
// made shared first.

#ifdef DEPLOY_FUZZ
extern "C" std::uint8_t __start___sancov_cntrs, __stop___sancov_cntrs;
#endif

namespace deploy::loader {

namespace {

constexpr unsigned kSeconds = 10;
constexpr const char* kPath = "/embedded/libfuzzed.so";
constexpr std::uint64_t kIgnored = 0x6ffffef0;  // a tag that nobody has a meaning for

void share_counters() {
#ifdef DEPLOY_FUZZ
  const std::uintptr_t page = 4096;
  const auto start = (reinterpret_cast<std::uintptr_t>(&__start___sancov_cntrs) + page - 1) & ~(page - 1);
  const auto end = reinterpret_cast<std::uintptr_t>(&__stop___sancov_cntrs) & ~(page - 1);
  if (end <= start) return;
  if (::mmap(reinterpret_cast<void*>(start), end - start, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
      MAP_FAILED)
    std::abort();
#endif
}

// Where in the file the byte at `vaddr` is, if it is there.
std::optional<std::uint64_t> offset_of(const ElfImage& image, std::uint64_t vaddr, std::uint64_t size) {
  for (const Segment& s : image.segments) {
    if (vaddr >= s.vaddr && vaddr - s.vaddr <= s.file_size && s.file_size - (vaddr - s.vaddr) >= size)
      return s.offset + (vaddr - s.vaddr);
  }
  return std::nullopt;
}

void take_out_functions(const ElfImage& image, std::span<std::byte> file) {
  for (std::uint64_t at = 0; at + sizeof(Elf64_Dyn) <= image.dynamic.size; at += sizeof(Elf64_Dyn)) {
    const auto offset = offset_of(image, image.dynamic.vaddr + at, sizeof(Elf64_Dyn));
    if (!offset) return;
    Elf64_Dyn entry;
    std::memcpy(&entry, file.data() + *offset, sizeof entry);
    for (const auto tag : {DT_INIT, DT_FINI, DT_INIT_ARRAY, DT_FINI_ARRAY}) {
      if (entry.d_tag == tag) entry.d_tag = kIgnored;
    }
    std::memcpy(file.data() + *offset, &entry, sizeof entry);
  }
}

bool has_resolvers(const ElfImage& image, std::span<const std::byte> file) {
  const ImageBytes bytes = ImageBytes::of_file(image, file);
  auto dynamic = DynamicTable::parse(image, bytes);
  auto symbols = dynamic ? SymbolTable::create(*dynamic, bytes) : Result<SymbolTable>(dynamic.failure());
  if (!symbols) return false;
  for (const Elf64_Sym& symbol : symbols->symbols()) {
    if (ELF64_ST_TYPE(symbol.st_info) == STT_GNU_IFUNC) return true;
  }
  for (const AddressRange& range : {dynamic->relocations, dynamic->plt_relocations}) {
    const auto table = bytes.array<Elf64_Rela>(range.vaddr, range.size / sizeof(Elf64_Rela));
    if (!table) continue;
    for (const Elf64_Rela& r : *table) {
      if (ELF64_R_TYPE(r.r_info) == R_X86_64_IRELATIVE) return true;
    }
  }
  return false;
}

void use(Namespace& space, Library* library) {
  for (const char* name : {"", "main", "bare_function", "fixture_writes"}) (void)space.symbol(library, name);
  for (std::uintptr_t at = library->mapping.start(); at < library->mapping.end() && at - library->mapping.start() < 64 * 4096;
       at += 4096) {
    Dl_info info;
    address_info(reinterpret_cast<const void*>(at), &info, nullptr, 0);
    dl_find_object found;
    find_object(reinterpret_cast<void*>(at), &found);
  }
}

void load_twice(std::span<const std::byte> content) {
  auto file = FileDescriptor::sealed_memory("fuzzed", content);
  if (!file) std::abort();
  const EmbeddedFile embedded{file->get(), 0, content.size()};
  for (int i = 0; i < 2; ++i) {
    NamespaceOptions options;
    options.name = "fuzz";
    options.embedded = [&](std::string_view path) { return path == kPath ? std::optional(embedded) : std::nullopt; };
    options.host_symbols = {{"host_log", reinterpret_cast<void*>(+[](int) {})}};
    auto space = Namespace::create(std::move(options));
    if (!space) std::abort();
    if (auto library = (*space)->load(kPath, Visibility::kLocal)) use(**space, *library);
  }
}

void load_in_child(std::span<const std::byte> content) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) std::abort();
  if (child == 0) {
    ::signal(SIGALRM, SIG_DFL);
    ::alarm(kSeconds);
    load_twice(content);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status == 0) return;
  std::fprintf(stderr, "elf_load_fuzz: the child ended with %s %d\n", WIFSIGNALED(status) ? "signal" : "status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  std::abort();
}

}  // namespace

}  // namespace deploy::loader

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace deploy::loader;
  static const bool kShared = (share_counters(), true);
  (void)kShared;
  std::vector<std::byte> file(size);
  if (size != 0) std::memcpy(file.data(), data, size);
  auto image = ElfImage::parse(file);
  if (!image) return 0;  // the other target's business
  take_out_functions(*image, file);
  if (!has_resolvers(*image, file)) load_in_child(file);
  return 0;
}
