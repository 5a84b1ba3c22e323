#include <algorithm>
#include <cstdlib>
#include <new>

#include "lib/loader/relocate.h"

namespace deploy::loader {

namespace {

// What is known of a referenced symbol. The table of all symbols is zeroed by the kernel page by page, as it is used: most symbols
// of a large library are never referred to.
struct Bound {
  static constexpr std::uint32_t kNot = 0, kSpecially = 0xffffffff;
  std::uint32_t base;    // kNot: not yet; kSpecially: no base plus number; else the base's index plus 1
  std::uint32_t number;  // to be added
};

class BoundTable {
 public:
  explicit BoundTable(std::size_t size) : bound_(static_cast<Bound*>(std::calloc(size + 1, sizeof(Bound)))) {
    if (!bound_) throw std::bad_alloc();
  }
  Bound& operator[](std::size_t index) { return bound_[index]; }

 private:
  struct Free {
    void operator()(Bound* bound) const { std::free(bound); }
  };
  std::unique_ptr<Bound[], Free> bound_;
};

bool is_word(unsigned type) {
  return type == R_X86_64_RELATIVE || type == R_X86_64_64 || type == R_X86_64_GLOB_DAT || type == R_X86_64_JUMP_SLOT;
}

std::uint64_t place_size(unsigned type) {
  switch (type) {
    case R_X86_64_TLSDESC:
      return 16;
    case R_X86_64_PC32:
    case R_X86_64_PLT32:
    case R_X86_64_32:
    case R_X86_64_32S:
    case R_X86_64_SIZE32:
      return 4;
    default:
      return 8;
  }
}

class Recorder {
 public:
  Recorder(NamespaceImpl& space, const Library& library, const ReplayScope& scope, RelocationProgram& program,
           std::vector<std::uintptr_t>& values)
      : space_(space),
        library_(library),
        scope_(scope),
        program_(program),
        values_(values),
        symbols_(*library.symbols),
        places_(library),
        bound_(symbols_.symbols().size()) {
    library_bases_.resize(scope.size() * 2);
    add_base({ProgramBase::kZero, 0}, 0);
    own_base_ = library_base(own_index_);
    for (std::uint32_t i = 0; !library.dynamic.symbolic && i < own_index_; ++i) before_.push_back(&*scope.at(i)->symbols);
  }

  Result<void> run() {
    program_.relatives = count_relatives(library_.dynamic.relocations);
    if (auto done = record_table(library_.dynamic.relocations, program_.relatives); !done) return done;
    if (auto done = record_table(library_.dynamic.plt_relocations, 0); !done) return done;
    program_.finish();
    return {};
  }

 private:
  static constexpr std::uint32_t kZeroBase = 0;
  static constexpr std::uint64_t kAhead = 16;

  // How many of the table's relocations, from the first one on, are RELATIVE. Linkers put all of them there (-z combreloc).
  std::uint64_t count_relatives(const AddressRange& range) const {
    const auto* table = reinterpret_cast<const Elf64_Rela*>(library_.address(range.vaddr));
    const std::uint64_t count = range.size / sizeof(Elf64_Rela);
    std::uint64_t i = 0;
    while (i < count && ELF64_R_TYPE(table[i].r_info) == R_X86_64_RELATIVE) ++i;
    return i;
  }

  Result<void> record_table(const AddressRange& range, std::uint64_t from) {
    const auto* table = reinterpret_cast<const Elf64_Rela*>(library_.address(range.vaddr));
    const std::uint64_t count = range.size / sizeof(Elf64_Rela);
    for (std::uint64_t i = from; i < count; ++i) {
      const Elf64_Rela& r = table[i];
      if (i + kAhead < count) prefetch(table[i + kAhead]);
      const unsigned type = ELF64_R_TYPE(r.r_info);
      left_ = count - i;
      // The four that make up nearly all of a table, without a Result each.
      if (is_word(type) && places_.contain(r.r_offset, 8)) {
        if (type == R_X86_64_RELATIVE) {
          if (program_.add(own_base_, r.r_offset, static_cast<std::uint64_t>(r.r_addend), true, left_)) continue;
        } else {
          const Bound* bound = bind(r);
          if (!bound) return failure_;
          const std::uint64_t addend = type == R_X86_64_64 ? static_cast<std::uint64_t>(r.r_addend) : 0;
          const bool in_row = type == R_X86_64_JUMP_SLOT;
          if (bound->base != Bound::kSpecially && program_.add(bound->base - 1, r.r_offset, bound->number + addend, in_row, left_))
            continue;
        }
      }
      if (auto done = record_other(r, type); !done) return done;
    }
    return {};
  }

  // A linker sorts relocations by symbol (-z combreloc), but a large library's tables fit into no cache.
  void prefetch(const Elf64_Rela& r) {
    const std::size_t index = ELF64_R_SYM(r.r_info);
    if (index == STN_UNDEF || index >= symbols_.symbols().size()) return;
    __builtin_prefetch(&bound_[index], 1);
    symbols_.prefetch(index);
  }

  Result<void> record_other(const Elf64_Rela& r, unsigned type) {
    if (type == R_X86_64_NONE) return {};
    if (!places_.contain(r.r_offset, place_size(type)))
      return relocation_failure(library_, r, "the place is outside the writable segments");
    const auto symbol = static_cast<std::uint32_t>(ELF64_R_SYM(r.r_info));
    RecordedBinding binding;
    if (symbol != STN_UNDEF && type != R_X86_64_RELATIVE && type != R_X86_64_IRELATIVE) {
      if (!bind(r)) return failure_;
      if (const auto known = bindings_.find(symbol); known != bindings_.end()) binding = known->second;
    }
    if ((type == R_X86_64_DTPMOD64 || type == R_X86_64_DTPOFF64) && record_tls(r, type, binding)) return {};
    program_.specials.push_back({r, binding});
    return {};
  }

  // Half of a general-dynamic reference to a variable of a library of the scope.
  bool record_tls(const Elf64_Rela& r, unsigned type, const RecordedBinding& binding) {
    std::uint32_t index = own_index_;
    std::uint64_t offset = static_cast<std::uint64_t>(r.r_addend);
    if (ELF64_R_SYM(r.r_info) != STN_UNDEF) {
      if (binding.library >= scope_.size()) return false;
      index = binding.library;
      offset += scope_.at(index)->symbols->symbols()[binding.symbol].st_value;
    }
    if (!scope_.at(index)->image.tls) return false;
    return type == R_X86_64_DTPMOD64 ? program_.add(module_base(index), r.r_offset, 0, false, left_)
                                     : program_.add(kZeroBase, r.r_offset, offset, false, left_);
  }

  // What the relocation's symbol is bound to; null, and failure_ says why, where it cannot be bound.
  const Bound* bind(const Elf64_Rela& r) {
    const std::size_t index = ELF64_R_SYM(r.r_info);
    const std::size_t count = symbols_.symbols().size();
    if (index >= count) {
      failure_ = relocation_failure(library_, r, "symbol " + std::to_string(index) + " of a table of " + std::to_string(count));
      return nullptr;
    }
    Bound& bound = bound_[index];
    if (bound.base != Bound::kNot) return &bound;
    if (index == STN_UNDEF) {
      bound = {kZeroBase + 1, 0};
      return &bound;
    }
    if (binds_to_itself(index)) {
      const Elf64_Sym& symbol = symbols_.symbols()[index];
      const unsigned kind = ELF64_ST_TYPE(symbol.st_info);
      if (kind != STT_GNU_IFUNC && kind != STT_TLS && ELF64_ST_BIND(symbol.st_info) != STB_GNU_UNIQUE &&
          symbol.st_shndx != SHN_ABS && symbol.st_value <= 0xffffffff) {
        bound = {own_base_ + 1, static_cast<std::uint32_t>(symbol.st_value)};
        return &bound;
      }
    }
    auto definition = space_.resolve(library_, index);
    if (!definition) {
      failure_ = std::move(definition.failure());
      return nullptr;
    }
    bound = describe(static_cast<std::uint32_t>(index), *definition);
    return &bound;
  }

  // Most references of a large library are to its own symbols. Their hashes stand in its hash table already: when the Bloom filters
  // of all libraries before it in the scope rule the name out, it need not even be read.
  bool binds_to_itself(std::size_t index) const {
    const auto hash = symbols_.stored_hash(index);
    return hash && std::none_of(before_.begin(), before_.end(), [&](const SymbolTable* table) { return table->may_define(*hash); });
  }

  Bound describe(std::uint32_t index, const Definition& definition) {
    if (!definition.library) {
      bindings_[index] = {RecordedBinding::kOutside, 0};
      ProgramBase base{ProgramBase::kOutside, index};
      if (find_interposed(symbols_.name(symbols_.symbols()[index]))) base = {ProgramBase::kFixed, index, definition.address};
      return {add_base(base, definition.address) + 1, 0};
    }
    const Elf64_Sym& symbol = *definition.symbol;
    const bool is_special = definition.is_ifunc || ELF64_ST_TYPE(symbol.st_info) == STT_TLS;
    const auto library = definition.library == &library_ ? std::optional(own_index_) : scope_.index_of(definition.library);
    if (!library) {
      if (is_special) return {Bound::kSpecially, 0};
      return {add_base({ProgramBase::kLookedUp, index}, definition.address) + 1, 0};
    }
    const auto place = static_cast<std::uint32_t>(&symbol - definition.library->symbols->symbols().data());
    if (definition.library != &library_) program_.bound.insert(*library);
    if (ELF64_ST_BIND(symbol.st_info) == STB_GNU_UNIQUE)
      program_.uniques.push_back({*library, place, gnu_hash(definition.library->symbols->name(symbol))});
    if (is_special || symbol.st_value > 0xffffffff) {
      bindings_[index] = {*library, place};
      return {Bound::kSpecially, 0};
    }
    const std::uint32_t base = symbol.st_shndx == SHN_ABS ? kZeroBase : library_base(*library);
    return {base + 1, static_cast<std::uint32_t>(symbol.st_value)};
  }

  std::uint32_t add_base(ProgramBase base, std::uintptr_t value) {
    program_.bases.push_back(base);
    values_.push_back(value);
    return static_cast<std::uint32_t>(values_.size() - 1);
  }

  std::uint32_t library_base(std::uint32_t index) {
    std::uint32_t& known = library_bases_[index * 2];
    if (known == 0) known = add_base({ProgramBase::kLibrary, index}, scope_.at(index)->bias());
    return known;
  }

  std::uint32_t module_base(std::uint32_t index) {
    std::uint32_t& known = library_bases_[index * 2 + 1];
    if (known == 0) known = add_base({ProgramBase::kTlsModule, index}, scope_.at(index)->tls_module);
    return known;
  }

  NamespaceImpl& space_;
  const Library& library_;
  const ReplayScope& scope_;
  RelocationProgram& program_;
  std::vector<std::uintptr_t>& values_;  // of program_.bases
  const SymbolTable& symbols_;
  std::vector<const SymbolTable*> before_;  // of the libraries that are before this one in the scope, and may define what it does
  Places places_;
  BoundTable bound_;                                             // by symbol
  std::unordered_map<std::uint32_t, RecordedBinding> bindings_;  // by symbol: those that specials may need
  std::vector<std::uint32_t> library_bases_;                     // by library of the scope: of its bias, of its TLS module
  std::uint32_t own_base_ = 0;
  std::uint64_t left_ = 0;  // relocations of the table, the current one included
  const std::uint32_t own_index_ = *scope_.index_of(&library_);
  Failure failure_;
};

}  // namespace

Failure relocation_failure(const Library& library, const Elf64_Rela& r, const std::string& what) {
  return {ErrorCode::kLoader, library.path + ": relocation type " + std::to_string(ELF64_R_TYPE(r.r_info)) + " at offset " +
                                  std::to_string(r.r_offset) + ": " + what};
}

Result<void> record(NamespaceImpl& space, const Library& library, const ReplayScope& scope, RelocationProgram& program,
                    std::vector<std::uintptr_t>& values) {
  return Recorder(space, library, scope, program, values).run();
}

}  // namespace deploy::loader
