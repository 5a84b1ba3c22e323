#include "lib/loader/relocate.h"

#include "lib/loader/reloc_x86_64.h"

namespace deploy::loader {

namespace {

using namespace x86_64;

class Relocator {
 public:
  Relocator(NamespaceImpl& space, Library& library, const ReplayScope& scope, std::vector<DeferredRelocation>& deferred)
      : space_(space), library_(library), scope_(scope), deferred_(deferred) {}

  Result<void> run(const RelocationProgram* known, RelocationProgram& fresh) {
    if (auto done = apply_relr(); !done) return done;
    std::vector<std::uintptr_t> values;
    if (known && !adopt_all(known->uniques)) known = nullptr;
    auto done = known ? find_values(*known, values) : record(space_, library_, scope_, fresh, values);
    if (!done) return done;
    const RelocationProgram& program = known ? *known : fresh;
    if (auto applied = apply_relatives(program.relatives); !applied) return applied;
    program.run(library_.bias(), values);
    for (const SpecialRelocation& special : program.specials) {
      if (auto applied = apply(special); !applied) return applied;
    }
    for (std::uint32_t index : program.bound) library_.bound.insert(scope_.at(index));
    return {};
  }

 private:
  // Whether in this namespace, too, these are the definitions of their names that all use.
  bool adopt_all(const std::vector<RecordedUnique>& uniques) {
    for (const RecordedUnique& unique : uniques) {
      const Library& library = *scope_.at(unique.library);
      const Elf64_Sym& symbol = library.symbols->symbols()[unique.symbol];
      if (space_.adopt_unique(library, symbol, unique.hash).symbol != &symbol) return false;
    }
    return true;
  }

  Result<void> find_values(const RelocationProgram& program, std::vector<std::uintptr_t>& values) {
    SystemState state = space_.system_state(library_);
    const auto known = program.answers.find(state);
    SystemAnswers::Addresses answers(known ? 0 : program.bases.size());
    for (std::size_t i = 0; i < program.bases.size(); ++i) {
      bool by_system = false;
      auto value = find_value(program.bases[i], known ? (*known)[i] : 0, by_system);
      if (!value) return value.failure();
      values.push_back(*value);
      if (!known && by_system) answers[i] = *value;
    }
    if (!known) program.answers.keep(std::move(state), std::move(answers));
    return {};
  }

  // `answer`: the system's, if it is known.
  Result<std::uintptr_t> find_value(const ProgramBase& base, std::uintptr_t answer, bool& by_system) {
    switch (base.kind) {
      case ProgramBase::kLibrary:
        return scope_.at(base.index)->bias();
      case ProgramBase::kTlsModule:
        return scope_.at(base.index)->tls_module;
      case ProgramBase::kFixed:
        return base.fixed;
      case ProgramBase::kOutside:
        if (answer != 0) return answer;
        [[fallthrough]];
      case ProgramBase::kLookedUp: {
        auto definition = base.kind == ProgramBase::kOutside ? space_.resolve_outside(library_, base.index, answer, &by_system)
                                                             : space_.resolve(library_, base.index);
        if (!definition) return definition.failure();
        return definition->address;
      }
      default:
        return std::uintptr_t{0};
    }
  }

  // DT_RELR (gABI, "Relative Relocation Table"): an even word is a place; an odd one a bitmap of the 63 words after the last place.
  Result<void> apply_relr() {
    const AddressRange& range = library_.dynamic.relative_relocations;
    Places places(library_);
    const auto* words = reinterpret_cast<const std::uint64_t*>(library_.address(range.vaddr));
    std::uint64_t next = 0;
    const auto add_bias = [&](std::uint64_t vaddr) {
      if (!places.contain(vaddr, 8)) return false;
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

  // The first `count` relocations of DT_RELA.
  Result<void> apply_relatives(std::uint64_t count) {
    Places places(library_);
    const auto* table = reinterpret_cast<const Elf64_Rela*>(library_.address(library_.dynamic.relocations.vaddr));
    for (const Elf64_Rela* r = table; r != table + count; ++r) {
      // In a damaged file a relocation may have changed the table.
      if (ELF64_R_TYPE(r->r_info) != R_X86_64_RELATIVE) return failure(*r, "the table changes while it is applied");
      if (!places.contain(r->r_offset, 8)) return failure(*r, "the place is outside the writable segments");
      write64(library_.address(r->r_offset), library_.bias() + static_cast<std::uint64_t>(r->r_addend));
    }
    return {};
  }

  // What the relocation's symbol is bound to; null, and failure_ says why, where it cannot be bound. Valid until the next call.
  const Definition* bind(const SpecialRelocation& special) {
    const std::size_t index = ELF64_R_SYM(special.relocation.r_info);
    if (index == STN_UNDEF) {
      bound_ = Definition{&library_, nullptr, 0, false};
      return &bound_;
    }
    if (special.binding.library < scope_.size()) {
      const Library& library = *scope_.at(special.binding.library);
      bound_ = space_.adopt(library, library.symbols->symbols()[special.binding.symbol]);
      return &bound_;
    }
    auto definition = special.binding.library == RecordedBinding::kOutside ? space_.resolve_outside(library_, index)
                                                                           : space_.resolve(library_, index);
    if (!definition) {
      failure_ = std::move(definition.failure());
      return nullptr;
    }
    bound_ = *definition;
    return &bound_;
  }

  Result<void> apply(const SpecialRelocation& special) {
    const Elf64_Rela& r = special.relocation;
    const unsigned type = ELF64_R_TYPE(r.r_info);
    const std::uintptr_t place = library_.address(r.r_offset);
    const auto addend = static_cast<std::uint64_t>(r.r_addend);
    switch (type) {
      case R_X86_64_RELATIVE:
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
        return apply_tls(special, type, place);
      case R_X86_64_COPY:
        return failure(r, "a copy relocation, which only executables have");
      default:
        break;
    }
    const Definition* definition = bind(special);
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
      case R_X86_64_64:
        write64(place, value);
        break;
      case R_X86_64_GLOB_DAT:
      case R_X86_64_JUMP_SLOT:
        write64(place, d.address);
        break;
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

  Result<TlsTarget> tls_target(const SpecialRelocation& special) {
    const Elf64_Rela& r = special.relocation;
    const Definition* definition = bind(special);
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

  Result<void> apply_tls(const SpecialRelocation& special, unsigned type, std::uintptr_t place) {
    const Elf64_Rela& r = special.relocation;
    auto target = tls_target(special);
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
    if (!offset) {
      Failure failed = failure(r, offset.failure().message);
      failed.code = offset.failure().code;
      return failed;
    }
    return *offset;
  }

  Failure failure(const Elf64_Rela& r, const std::string& what) const { return relocation_failure(library_, r, what); }

  NamespaceImpl& space_;
  Library& library_;
  const ReplayScope& scope_;
  std::vector<DeferredRelocation>& deferred_;
  Definition bound_;
  Failure failure_;
};

}  // namespace

Result<void> relocate(NamespaceImpl& space, Library& library, const ReplayScope& scope, const RelocationProgram* known,
                      RelocationProgram& fresh, std::vector<DeferredRelocation>& deferred) {
  return Relocator(space, library, scope, deferred).run(known, fresh);
}

void run_deferred(const std::vector<DeferredRelocation>& deferred) {
  for (const DeferredRelocation& d : deferred) {
    const std::uintptr_t value = reinterpret_cast<std::uintptr_t (*)()>(d.resolver)();
    write64(d.place, value + static_cast<std::uint64_t>(d.addend));
  }
}

}  // namespace deploy::loader
