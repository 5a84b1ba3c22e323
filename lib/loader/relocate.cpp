#include "lib/loader/relocate.h"

#include <sys/mman.h>

#include "lib/loader/reloc_x86_64.h"

namespace deploy::loader {

namespace {

using namespace x86_64;

class Relocator {
 public:
  Relocator(NamespaceImpl& space, Library& library, std::vector<DeferredRelocation>& deferred, const BindingLog& log)
      : space_(space), library_(library), deferred_(deferred), log_(log) {
    for (std::uint32_t i = 0; i < RecordedBinding::kFirst; ++i) biases_.push_back(0);
    for (std::uint32_t i = 0; i < log_.scope.size(); ++i) biases_.push_back(log_.scope.at(i)->bias());
    if (!log_.replay) log_.fresh->bindings = BindingTable(symbol_count());
  }

  Result<void> run() {
    if (auto done = apply_relr(); !done) return done;
    if (auto done = apply_table(library_.dynamic.relocations); !done) return done;
    return apply_table(library_.dynamic.plt_relocations);
  }

 private:
  std::size_t symbol_count() const { return library_.symbols->symbols().size(); }

  // A place must lie in a writable segment: a damaged file must not write elsewhere.
  bool is_place(std::uint64_t vaddr, std::uint64_t size) {
    if (place_segment_ && inside(*place_segment_, vaddr, size)) return true;
    for (const Segment& s : library_.image.segments) {
      if (((s.protection & PROT_WRITE) != 0 || library_.dynamic.text_relocations) && inside(s, vaddr, size)) {
        place_segment_ = &s;
        return true;
      }
    }
    return false;
  }
  static bool inside(const Segment& s, std::uint64_t vaddr, std::uint64_t size) {
    return vaddr >= s.vaddr && s.memory_size >= size && vaddr - s.vaddr <= s.memory_size - size;
  }

  Failure failure(const Elf64_Rela& r, const std::string& what) const {
    return {ErrorCode::kLoader, library_.path + ": relocation type " + std::to_string(ELF64_R_TYPE(r.r_info)) + " at offset " +
                                    std::to_string(r.r_offset) + ": " + what};
  }

  const BindingTable& bindings() const { return log_.replay ? log_.replay->bindings : log_.fresh->bindings; }

  // Where the relocation's symbol is, if that is known and bias + value is all there is to it. Nearly every reference but the first
  // to a symbol ends here; under replay, the first as well.
  bool plain_address(std::size_t index, std::uint64_t& address) const {
    if (index >= bindings().size() || !bindings()[index].is_plain) return false;
    address = biases_[bindings()[index].library] + bindings()[index].value;
    return true;
  }

  // What the relocation's symbol is bound to; null, and failure_ says why, where it cannot be bound. Valid until the next call.
  const Definition* bind(const Elf64_Rela& r) {
    const std::size_t index = ELF64_R_SYM(r.r_info);
    if (index >= symbol_count()) {
      failure_ = failure(r, "symbol " + std::to_string(index) + " of a table of " + std::to_string(symbol_count()));
      return nullptr;
    }
    if (index == STN_UNDEF) {
      bound_ = Definition{&library_, nullptr, 0, false};
      return &bound_;
    }
    if (const auto known = special_.find(index); known != special_.end()) return &known->second;
    auto definition = log_.replay ? replayed(index) : space_.resolve(library_, index);
    if (!definition) {
      failure_ = std::move(definition.failure());
      return nullptr;
    }
    bound_ = *definition;
    const bool is_plain = log_.replay ? bindings()[index].is_plain : record(index, *definition);
    if (!is_plain) special_.emplace(index, *definition);
    return &bound_;
  }

  Result<Definition> replayed(std::size_t index) {
    const RecordedBinding& binding = bindings()[index];
    if (binding.library == RecordedBinding::kUnknown) return space_.resolve(library_, index);
    if (binding.library == RecordedBinding::kOutside) return space_.resolve_outside(library_, index);
    const Library& library = *log_.scope.at(binding.library - RecordedBinding::kFirst);
    return space_.adopt(library, library.symbols->symbols()[binding.symbol]);
  }

  // Writes down what the symbol was bound to, and says whether it is plain.
  bool record(std::size_t index, const Definition& definition) {
    RecordedBinding& binding = log_.fresh->bindings[index];
    if (!definition.library) {
      binding.library = RecordedBinding::kOutside;
      return false;
    }
    const auto library = definition.library == &library_ ? own_index_ : log_.scope.index_of(definition.library);
    if (!definition.symbol || !library) return false;
    const Elf64_Sym& symbol = *definition.symbol;
    binding.library = *library + RecordedBinding::kFirst;
    binding.symbol = static_cast<std::uint32_t>(&symbol - definition.library->symbols->symbols().data()) & 0x7fffffff;
    binding.value = symbol.st_value;
    binding.is_plain = !definition.is_ifunc && symbol.st_shndx != SHN_ABS && ELF64_ST_TYPE(symbol.st_info) != STT_TLS &&
                       ELF64_ST_BIND(symbol.st_info) != STB_GNU_UNIQUE;
    if (definition.library != &library_) log_.fresh->bound.insert(*library);
    return binding.is_plain;
  }

  // DT_RELR (gABI, "Relative Relocation Table"): an even word is a place; an odd one a bitmap of the 63 words after the last place.
  Result<void> apply_relr() {
    const AddressRange& range = library_.dynamic.relative_relocations;
    const auto* words = reinterpret_cast<const std::uint64_t*>(library_.address(range.vaddr));
    std::uint64_t next = 0;
    const auto add_bias = [&](std::uint64_t vaddr) {
      if (!is_place(vaddr, 8)) return false;
      std::uint64_t value;
      std::memcpy(&value, reinterpret_cast<void*>(library_.address(vaddr)), sizeof value);
      write64(library_.address(vaddr), value + library_.bias());
      return true;
    };
    for (std::uint64_t i = 0; i < range.size / 8; ++i) {
      bool good = true;
      if ((words[i] & 1) == 0) {
        good = add_bias(words[i]);
        next = words[i] + 8;
      } else {
        for (unsigned bit = 0; bit < 63; ++bit) {
          if ((words[i] >> (bit + 1)) & 1) good = good && add_bias(next + bit * 8);
        }
        next += 63 * 8;
      }
      if (!good) return Failure{ErrorCode::kLoader, library_.path + ": a DT_RELR relocation outside the writable segments"};
    }
    return {};
  }

  Result<void> apply_table(const AddressRange& range) {
    const auto* table = reinterpret_cast<const Elf64_Rela*>(library_.address(range.vaddr));
    for (std::uint64_t i = 0; i < range.size / sizeof(Elf64_Rela); ++i) {
      const Elf64_Rela& r = table[i];
      // The three that make up nearly all of a table, without a Result each.
      const unsigned type = ELF64_R_TYPE(r.r_info);
      if ((type == R_X86_64_RELATIVE || type == R_X86_64_64 || type == R_X86_64_GLOB_DAT || type == R_X86_64_JUMP_SLOT) &&
          is_place(r.r_offset, 8)) {
        const std::uintptr_t place = library_.address(r.r_offset);
        if (type == R_X86_64_RELATIVE) {
          write64(place, library_.bias() + static_cast<std::uint64_t>(r.r_addend));
          continue;
        }
        const std::uint64_t addend = type == R_X86_64_64 ? static_cast<std::uint64_t>(r.r_addend) : 0;
        if (std::uint64_t address; plain_address(ELF64_R_SYM(r.r_info), address)) {
          write64(place, address + addend);
          continue;
        }
        const Definition* definition = bind(r);
        if (!definition) return failure_;
        if (!definition->is_ifunc) {
          write64(place, definition->address + addend);
          continue;
        }
      }
      if (auto done = apply(r); !done) return done;
    }
    return {};
  }

  Result<void> apply(const Elf64_Rela& r) {
    const unsigned type = ELF64_R_TYPE(r.r_info);
    if (type == R_X86_64_NONE) return {};
    const std::uint64_t size =
        type == R_X86_64_TLSDESC ? 16
        : type == R_X86_64_PC32 || type == R_X86_64_PLT32 || type == R_X86_64_32 || type == R_X86_64_32S || type == R_X86_64_SIZE32
            ? 4
            : 8;
    if (!is_place(r.r_offset, size)) return failure(r, "the place is outside the writable segments");
    const std::uintptr_t place = library_.address(r.r_offset);
    const auto addend = static_cast<std::uint64_t>(r.r_addend);
    switch (type) {
      case R_X86_64_RELATIVE64:
        write64(place, library_.bias() + addend);
        return {};
      case R_X86_64_IRELATIVE:
        if (!library_.image.is_code(addend)) return failure(r, "a resolver outside the code");
        deferred_.push_back({place, library_.bias() + addend, 0});
        return {};
      case R_X86_64_DTPMOD64:
      case R_X86_64_DTPOFF64:
      case R_X86_64_TPOFF64:
      case R_X86_64_TLSDESC:
        return apply_tls(r, type, place);
      case R_X86_64_COPY:
        return failure(r, "a copy relocation, which only executables have");
      default:
        break;
    }
    const Definition* definition = bind(r);
    if (!definition) return failure_;
    return apply_symbol(r, type, place, *definition);
  }

  Result<void> apply_symbol(const Elf64_Rela& r, unsigned type, std::uintptr_t place, const Definition& d) {
    const auto addend = static_cast<std::uint64_t>(r.r_addend);
    if (d.is_ifunc) {
      if (type != R_X86_64_64 && type != R_X86_64_GLOB_DAT && type != R_X86_64_JUMP_SLOT)
        return failure(r, "against an indirect function");
      if (!d.library->image.is_code(d.address - d.library->bias())) return failure(r, "a resolver outside the code");
      deferred_.push_back({place, d.address, type == R_X86_64_64 ? r.r_addend : 0});
      return {};
    }
    const std::uint64_t value = d.address + addend;
    bool fits = true;
    switch (type) {
      case R_X86_64_PC64:
        write64(place, value - place);
        break;
      case R_X86_64_PC32:
      case R_X86_64_PLT32:
        fits = write_signed32(place, value - place);
        break;
      case R_X86_64_32:
        fits = write_unsigned32(place, value);
        break;
      case R_X86_64_32S:
        fits = write_signed32(place, value);
        break;
      case R_X86_64_SIZE64:
      case R_X86_64_SIZE32: {
        if (!d.symbol) return failure(r, "the size of a symbol that no private library defines");
        const std::uint64_t total = d.symbol->st_size + addend;
        type == R_X86_64_SIZE64 ? write64(place, total) : void(fits = write_unsigned32(place, total));
        break;
      }
      default:
        return failure(r, "unknown to this loader");
    }
    if (!fits) return failure(r, "the value does not fit into 32 bits: the library was not built as position-independent code");
    return {};
  }

  // Where a TLS definition lives: in a module of ours or, for a symbol of a system library, of glibc's; module 0: nowhere.
  struct TlsTarget {
    TlsIndex index{};
    const Library* library = nullptr;
  };

  Result<TlsTarget> tls_target(const Elf64_Rela& r) {
    const Definition* definition = bind(r);
    if (!definition) return failure_;
    const Library* library = definition->library;
    if (library) {
      if (!library->image.tls) return failure(r, "a thread-local symbol in '" + library->path + "', which has no TLS segment");
      return TlsTarget{{library->tls_module, definition->symbol ? definition->symbol->st_value : 0}, library};
    }
    if (definition->address == 0) return TlsTarget{};  // an undefined weak symbol: its address is null
    auto index = tls_system_index(reinterpret_cast<const void*>(definition->address));
    if (!index) return failure(r, index.failure().message);
    return TlsTarget{*index, nullptr};
  }

  Result<void> apply_tls(const Elf64_Rela& r, unsigned type, std::uintptr_t place) {
    auto target = tls_target(r);
    if (!target) return target.failure();
    const std::uint64_t offset = target->index.offset + static_cast<std::uint64_t>(r.r_addend);
    switch (type) {
      case R_X86_64_DTPMOD64:
        write64(place, target->index.module);
        return {};
      case R_X86_64_DTPOFF64:
        write64(place, offset);
        return {};
      case R_X86_64_TPOFF64: {
        auto base = target->index.module != 0 ? static_base(r, *target) : Result<std::int64_t>(0);
        if (!base) return base.failure();
        write64(place, static_cast<std::uint64_t>(*base) + offset);
        return {};
      }
      default: {
        TlsDescriptor descriptor;
        if (target->index.module == 0) {
          descriptor = tls_descriptor_undefined(offset);
        } else if (target->library && target->library->static_tls) {
          descriptor = tls_descriptor_static(target->library->static_tls->offset + static_cast<std::int64_t>(offset));
        } else {
          library_.descriptor_arguments.push_back(std::make_unique<TlsIndex>(TlsIndex{target->index.module, offset}));
          descriptor = tls_descriptor_dynamic(library_.descriptor_arguments.back().get());
        }
        write64(place, reinterpret_cast<std::uint64_t>(descriptor.entry));
        write64(place + 8, descriptor.argument);
        return {};
      }
    }
  }

  // The distance of the target's TLS block from the thread pointer. For a private library load.cpp reserved it.
  Result<std::int64_t> static_base(const Elf64_Rela& r, const TlsTarget& target) {
    if (target.library) {
      if (target.library->static_tls) return target.library->static_tls->offset;
      return failure(r, "initial-exec access to a thread-local variable of '" + target.library->path +
                            "', which was loaded without static TLS; it must be loaded by the same call");
    }
    auto offset = tls_system_static_offset(target.index.module);
    if (!offset) return failure(r, offset.failure().message);
    return *offset;
  }

  NamespaceImpl& space_;
  Library& library_;
  std::vector<DeferredRelocation>& deferred_;
  const BindingLog& log_;
  const std::optional<std::uint32_t> own_index_ = log_.scope.index_of(&library_);
  std::vector<std::uintptr_t> biases_;                   // by RecordedBinding::library
  std::unordered_map<std::size_t, Definition> special_;  // by symbol index: those that are not plain
  Definition bound_;
  Failure failure_;
  const Segment* place_segment_ = nullptr;
};

}  // namespace

Result<void> relocate(NamespaceImpl& space, Library& library, std::vector<DeferredRelocation>& deferred, const BindingLog& log) {
  return Relocator(space, library, deferred, log).run();
}

void run_deferred(const std::vector<DeferredRelocation>& deferred) {
  for (const DeferredRelocation& d : deferred) {
    const std::uintptr_t value = reinterpret_cast<std::uintptr_t (*)()>(d.resolver)();
    write64(d.place, value + static_cast<std::uint64_t>(d.addend));
  }
}

}  // namespace deploy::loader
