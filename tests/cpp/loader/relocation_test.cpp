#include <elf.h>

#include <cstring>

#include "lib/loader/classify.h"
#include "tests/cpp/loader/fixture_namespace.h"

// Relocations that no linker of today writes into a shared object, and damaged ones: made by editing a library's relocation table.

namespace deploy::loader {

namespace {

// The fixture "bare" with one relocation replaced: the one that fills bare_pointers[0] with the address of bare_data (R_X86_64_64).
class Edited {
 public:
  Edited() : bytes_(read_file(fixture_path("bare"))) {
    auto file = LibraryFile::open(fixture_path("bare"));
    const auto content = file->content();
    const ImageBytes view = ImageBytes::of_file(file->image(), content->bytes());
    const auto table =
        view.array<Elf64_Rela>(file->dynamic().relocations.vaddr, file->dynamic().relocations.size / sizeof(Elf64_Rela));
    auto symbols = SymbolTable::create(file->dynamic(), view);
    pointers_ = symbols->find(SymbolName("bare_pointers"))->st_value;
    for (const Elf64_Rela& r : *table) {
      if (r.r_offset != pointers_) continue;
      at_ = reinterpret_cast<const std::byte*>(&r) - content->bytes().data();
      relocation_ = r;
    }
  }

  // The first of the RELATIVE relocations in front writes over the second, for text may be written (DT_TEXTREL).
  void let_table_change() {
    const auto file = LibraryFile::open(fixture_path("bare"));
    const std::uint64_t table = file->dynamic().relocations.vaddr;  // an offset too: the first segment starts at 0
    auto* first = reinterpret_cast<Elf64_Rela*>(bytes_.data() + table);
    first->r_offset = table + sizeof(Elf64_Rela) + offsetof(Elf64_Rela, r_info);
    const std::uint64_t dynamic = file->image().dynamic.vaddr;
    for (const Segment& s : file->image().segments) {
      if (dynamic < s.vaddr || dynamic - s.vaddr >= s.file_size) continue;
      auto* tag = reinterpret_cast<Elf64_Dyn*>(bytes_.data() + s.offset + (dynamic - s.vaddr));
      while (tag->d_tag != DT_RELACOUNT) ++tag;
      tag->d_tag = DT_TEXTREL;
    }
  }

  Elf64_Rela& relocation() { return relocation_; }
  void set_type(unsigned type) { relocation_.r_info = ELF64_R_INFO(ELF64_R_SYM(relocation_.r_info), type); }
  void set_symbol(unsigned symbol) {
    relocation_.r_info = ELF64_R_INFO(static_cast<std::uint64_t>(symbol), ELF64_R_TYPE(relocation_.r_info));
  }

  // Loads it into `namespaces` of them, one after another: bare_pointers[0] of the last one as a word, or the failure.
  Result<std::uint64_t> load(int namespaces = 1) {
    std::memcpy(bytes_.data() + at_, &relocation_, sizeof relocation_);
    file_ = std::move(*FileDescriptor::sealed_memory("edited", std::as_bytes(std::span(bytes_))));
    Result<Library*> library = nullptr;
    for (int i = 0; i < namespaces; ++i) {
      space_ = make_namespace_with({{"/embedded/libfx_edited.so", {file_.get(), 0, bytes_.size()}}});
      library = space_->load("/embedded/libfx_edited.so", Visibility::kLocal);
      if (!library) return library.failure();
    }
    place_ = reinterpret_cast<std::uintptr_t>(*space_->symbol(*library, "bare_pointers"));
    data_ = reinterpret_cast<std::uintptr_t>(*space_->symbol(*library, "bare_data"));
    return *reinterpret_cast<std::uint64_t*>(place_);
  }
  std::uint64_t place() const { return place_; }
  std::uint64_t data() const { return data_; }
  std::uint64_t bias() const { return place_ - pointers_; }

 private:
  std::string bytes_;
  FileDescriptor file_;  // outlives space_
  std::uint64_t pointers_ = 0, place_ = 0, data_ = 0;
  std::ptrdiff_t at_ = 0;
  Elf64_Rela relocation_{};
  std::unique_ptr<Namespace> space_;
};

struct Formula {
  const char* name;
  unsigned type;
  std::int64_t addend;
  std::uint64_t (*expected)(const Edited&, std::int64_t addend);
  std::uint64_t mask = ~std::uint64_t{0};
};
void PrintTo(const Formula& f, std::ostream* out) { *out << f.name; }

constexpr std::uint64_t kWord32 = 0xffffffff;

class Formulas : public testing::TestWithParam<Formula> {};

TEST_P(Formulas, AsThePsabiSays) {
  const Formula& f = GetParam();
  for (const int namespaces : {1, 3}) {
    Edited edited;
    edited.set_type(f.type);
    edited.relocation().r_addend = f.addend;
    auto word = edited.load(namespaces);
    ASSERT_TRUE(word) << word.failure().message;
    EXPECT_EQ(*word & f.mask, f.expected(edited, f.addend) & f.mask) << "in namespace " << namespaces;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Relocation, Formulas,
    testing::Values(
        Formula{"R_64", R_X86_64_64, 4, [](const Edited& e, std::int64_t a) { return e.data() + a; }},
        Formula{"R_64_OfANegativeAddend", R_X86_64_64, -(std::int64_t{1} << 40),
                [](const Edited& e, std::int64_t a) { return e.data() + a; }},
        Formula{"R_64_OfALargeAddend", R_X86_64_64, std::int64_t{1} << 32,
                [](const Edited& e, std::int64_t a) { return e.data() + a; }},
        Formula{"GLOB_DAT_HasNoAddend", R_X86_64_GLOB_DAT, 4, [](const Edited& e, std::int64_t) { return e.data(); }},
        Formula{"JUMP_SLOT_HasNoAddend", R_X86_64_JUMP_SLOT, 4, [](const Edited& e, std::int64_t) { return e.data(); }},
        Formula{"RELATIVE", R_X86_64_RELATIVE, 64, [](const Edited& e, std::int64_t a) { return e.bias() + a; }},
        Formula{"RELATIVE_OfANegativeAddend", R_X86_64_RELATIVE, -8, [](const Edited& e, std::int64_t a) { return e.bias() + a; }},
        Formula{"RELATIVE64", R_X86_64_RELATIVE64, 64, [](const Edited& e, std::int64_t a) { return e.bias() + a; }},
        Formula{"PC64", R_X86_64_PC64, -8, [](const Edited& e, std::int64_t a) { return e.data() + a - e.place(); }},
        Formula{"PC32", R_X86_64_PC32, 12, [](const Edited& e, std::int64_t a) { return e.data() + a - e.place(); }, kWord32},
        Formula{"PLT32", R_X86_64_PLT32, 12, [](const Edited& e, std::int64_t a) { return e.data() + a - e.place(); }, kWord32},
        Formula{"SIZE64", R_X86_64_SIZE64, 3, [](const Edited&, std::int64_t a) { return std::uint64_t{16} + a; }},
        Formula{"SIZE32", R_X86_64_SIZE32, 3, [](const Edited&, std::int64_t a) { return std::uint64_t{16} + a; }, kWord32},
        Formula{"NONE", R_X86_64_NONE, 3, [](const Edited&, std::int64_t) { return std::uint64_t{0}; }}),
    [](const auto& info) { return std::string(info.param.name); });

struct Refusal {
  const char* name;
  void (*edit)(Edited&);
  const char* message;
};
void PrintTo(const Refusal& r, std::ostream* out) { *out << r.name; }

class Refusals : public testing::TestWithParam<Refusal> {};

TEST_P(Refusals, WithAClearError) {
  Edited edited;
  GetParam().edit(edited);
  auto word = edited.load();
  ASSERT_FALSE(word);
  EXPECT_NE(word.failure().message.find("libfx_edited.so"), std::string::npos) << word.failure().message;
  EXPECT_NE(word.failure().message.find(GetParam().message), std::string::npos) << word.failure().message;
  EXPECT_EQ(mappings_of("memfd:edited"), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Relocation, Refusals,
    testing::Values(
        Refusal{"ACopy", [](Edited& e) { e.set_type(R_X86_64_COPY); }, "a copy relocation, which only executables have"},
        Refusal{"AnUnknownType", [](Edited& e) { e.set_type(200); }, "relocation type 200"},
        Refusal{"A32BitAddress", [](Edited& e) { e.set_type(R_X86_64_32); }, "does not fit into 32 bits"},
        Refusal{"ASigned32BitAddress", [](Edited& e) { e.set_type(R_X86_64_32S); }, "does not fit into 32 bits"},
        Refusal{"AFarDistance", [](Edited& e) { e.set_type(R_X86_64_PC32), e.relocation().r_addend = std::int64_t{1} << 40; },
                "does not fit into 32 bits"},
        Refusal{"ALargeSize", [](Edited& e) { e.set_type(R_X86_64_SIZE32), e.relocation().r_addend = std::int64_t{1} << 40; },
                "does not fit into 32 bits"},
        Refusal{"APlaceInReadOnlyMemory", [](Edited& e) { e.relocation().r_offset = 0x40; }, "outside the writable segments"},
        Refusal{"APlaceOutsideTheLibrary", [](Edited& e) { e.relocation().r_offset = std::uint64_t{1} << 40; },
                "outside the writable segments"},
        Refusal{"APlaceAtTheEndOfTheAddressSpace", [](Edited& e) { e.relocation().r_offset = ~std::uint64_t{3}; },
                "outside the writable segments"},
        Refusal{"ASymbolThatDoesNotExist", [](Edited& e) { e.set_symbol(100000); }, "symbol"},
        Refusal{"AResolverOutsideTheCode", [](Edited& e) { e.set_type(R_X86_64_IRELATIVE), e.relocation().r_addend = 0x40; },
                "outside the code"},
        Refusal{"ATableThatChanges", [](Edited& e) { e.let_table_change(); }, "the table changes while it is applied"},
        Refusal{"ARelativePlaceOutside", [](Edited& e) { e.set_type(R_X86_64_RELATIVE), e.relocation().r_offset = 0x40; },
                "outside the writable segments"}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace

}  // namespace deploy::loader
