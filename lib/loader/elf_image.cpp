#include "lib/loader/elf_image.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace deploy::loader {

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMaxAddress = std::uint64_t{1} << 46;  // below the x86-64 user address limit, so sums cannot overflow
constexpr std::uint64_t kMaxAlignment = std::uint64_t{1} << 30;

Failure malformed(std::string what) { return {ErrorCode::kLoader, "malformed ELF file: " + std::move(what)}; }

std::string number(std::uint64_t n) { return std::to_string(n); }

Result<Elf64_Ehdr> parse_header(std::span<const std::byte> file) {
  Elf64_Ehdr header;
  if (file.size() < sizeof header) {
    return Failure{ErrorCode::kLoader, "not an ELF file: " + number(file.size()) + " bytes, an ELF header has 64"};
  }
  std::memcpy(&header, file.data(), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return Failure{ErrorCode::kLoader, "not an ELF file: no \\x7fELF at its start"};
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB) {
    return Failure{ErrorCode::kLoader, "an ELF file of another kind: class " + number(header.e_ident[EI_CLASS]) +
                                           ", data encoding " + number(header.e_ident[EI_DATA]) +
                                           "; expected 64-bit little-endian"};
  }
  if (header.e_machine != EM_X86_64) {
    return Failure{ErrorCode::kLoader,
                   "built for another machine: e_machine " + number(header.e_machine) + ", expected 62 (x86-64)"};
  }
  if (header.e_type != ET_DYN) {
    return Failure{ErrorCode::kLoader, "not a shared object: e_type " + number(header.e_type) + ", expected 3 (ET_DYN)"};
  }
  if (header.e_phentsize != sizeof(Elf64_Phdr)) return malformed("e_phentsize " + number(header.e_phentsize) + ", expected 56");
  if (header.e_phnum == 0 || header.e_phnum == PN_XNUM) return malformed(number(header.e_phnum) + " program headers");
  if (header.e_phoff > file.size() || file.size() - header.e_phoff < header.e_phnum * sizeof(Elf64_Phdr)) {
    return malformed("program headers outside the file (truncated?)");
  }
  return header;
}

bool good_alignment(std::uint64_t alignment) { return alignment <= kMaxAlignment && (alignment & (alignment - 1)) == 0; }

Result<void> add_segment(ElfImage& image, const Elf64_Phdr& p, std::uint64_t file_size) {
  if (p.p_memsz == 0) return {};
  if (p.p_filesz > p.p_memsz) return malformed("a segment with more bytes in the file than in memory");
  if (p.p_offset > file_size || file_size - p.p_offset < p.p_filesz) {
    return malformed("a segment ends at byte " + number(p.p_offset + p.p_filesz) + " of a file of " + number(file_size) +
                     " (truncated?)");
  }
  if (p.p_vaddr >= kMaxAddress || p.p_memsz >= kMaxAddress) return malformed("a segment outside the address space");
  if (!good_alignment(p.p_align)) return malformed("segment alignment " + number(p.p_align) + " is no power of two up to 2^30");
  if ((p.p_vaddr - p.p_offset) % kPage != 0) return malformed("a segment whose address and offset disagree modulo the page size");
  if (!image.segments.empty()) {
    const Segment& last = image.segments.back();
    if (p.p_vaddr < last.vaddr + last.memory_size) return malformed("segments that overlap or do not ascend");
  }
  const int protection =
      ((p.p_flags & PF_R) ? PROT_READ : 0) | ((p.p_flags & PF_W) ? PROT_WRITE : 0) | ((p.p_flags & PF_X) ? PROT_EXEC : 0);
  image.segments.push_back({p.p_vaddr, p.p_filesz, p.p_memsz, p.p_offset, protection});
  image.alignment = std::max(image.alignment, p.p_align);
  return {};
}

bool inside_segment(const ElfImage& image, std::uint64_t vaddr, std::uint64_t size, bool in_file) {
  for (const Segment& s : image.segments) {
    const std::uint64_t extent = in_file ? s.file_size : s.memory_size;
    if ((s.protection & PROT_READ) == 0) continue;
    if (vaddr >= s.vaddr && vaddr - s.vaddr <= extent && extent - (vaddr - s.vaddr) >= size) return true;
  }
  return false;
}

Result<void> check_special(ElfImage& image, const Elf64_Phdr& p) {
  switch (p.p_type) {
    case PT_DYNAMIC:
      if (!inside_segment(image, p.p_vaddr, p.p_filesz, true)) return malformed("PT_DYNAMIC outside the segments");
      image.dynamic = {p.p_vaddr, p.p_filesz};
      return {};
    case PT_TLS:
      if (!good_alignment(p.p_align)) return malformed("TLS alignment " + number(p.p_align) + " is no power of two");
      if (p.p_filesz > p.p_memsz || p.p_memsz >= kMaxAddress) return malformed("a TLS segment of impossible size");
      if (p.p_filesz != 0 && !inside_segment(image, p.p_vaddr, p.p_filesz, true)) return malformed("PT_TLS outside the segments");
      image.tls = TlsSegment{p.p_vaddr, p.p_filesz, p.p_memsz, std::max<std::uint64_t>(p.p_align, 1)};
      return {};
    case PT_GNU_RELRO:
      if (p.p_vaddr >= kMaxAddress || p.p_memsz >= kMaxAddress || p.p_vaddr < image.start || p.p_vaddr + p.p_memsz > image.end) {
        return malformed("PT_GNU_RELRO outside the segments");
      }
      image.relro = AddressRange{p.p_vaddr, p.p_memsz};
      return {};
    case PT_GNU_EH_FRAME:
      if (p.p_filesz != 0 && inside_segment(image, p.p_vaddr, p.p_filesz, true))
        image.eh_frame_header = AddressRange{p.p_vaddr, p.p_filesz};
      return {};
    case PT_GNU_STACK:
      image.executable_stack = (p.p_flags & PF_X) != 0;
      return {};
    default:
      return {};
  }
}

}  // namespace

Result<ElfImage> ElfImage::parse(std::span<const std::byte> file) {
  auto header = parse_header(file);
  if (!header) return header.failure();
  ElfImage image;
  image.program_headers.resize(header->e_phnum);
  std::memcpy(image.program_headers.data(), file.data() + header->e_phoff, header->e_phnum * sizeof(Elf64_Phdr));
  for (const Elf64_Phdr& p : image.program_headers) {
    if (p.p_type != PT_LOAD) continue;
    if (auto added = add_segment(image, p, file.size()); !added) return added.failure();
  }
  if (image.segments.empty()) return malformed("no PT_LOAD segment");
  image.start = image.segments.front().vaddr & ~(kPage - 1);
  image.end = (image.segments.back().vaddr + image.segments.back().memory_size + kPage - 1) & ~(kPage - 1);
  for (const Elf64_Phdr& p : image.program_headers) {
    if (auto checked = check_special(image, p); !checked) return checked.failure();
  }
  if (image.dynamic.size == 0) return malformed("no PT_DYNAMIC: a static object cannot be loaded");
  return image;
}

bool ElfImage::is_code(std::uint64_t vaddr) const {
  return std::any_of(segments.begin(), segments.end(), [vaddr](const Segment& s) {
    return (s.protection & PROT_EXEC) != 0 && vaddr >= s.vaddr && vaddr - s.vaddr < s.file_size;
  });
}

std::optional<std::span<const std::byte>> ImageBytes::at(std::uint64_t vaddr, std::uint64_t size) const {
  const auto rest = tail(vaddr);
  if (rest.data() == nullptr || rest.size() < size) return std::nullopt;
  return rest.first(size);
}

std::span<const std::byte> ImageBytes::tail(std::uint64_t vaddr) const {
  for (const Segment& s : image_->segments) {
    if (vaddr < s.vaddr || vaddr - s.vaddr >= s.file_size || (s.protection & PROT_READ) == 0) continue;
    const std::uint64_t skip = vaddr - s.vaddr;
    return {origin_ + (by_offset_ ? s.offset + skip : vaddr), s.file_size - skip};
  }
  return {};
}

}  // namespace deploy::loader
