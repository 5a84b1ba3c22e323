#include "deploy/backtrace.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "lib/loader/interpose.h"
#include "lib/loader/namespace_impl.h"
#include "lib/loader/object_index.h"

namespace deploy {

bool locate_code(const void* address, CodeLocation& location) noexcept {
  loader::IndexedObject found;
  if (loader::index_find(reinterpret_cast<std::uintptr_t>(address), found)) {
    const loader::Library& library = *found.library;
    location = {library.path.c_str(), reinterpret_cast<std::uintptr_t>(address) - library.bias(),
                library.owner->options.name.c_str()};
    return true;
  }
  dl_find_object object;
  if (::_dl_find_object(const_cast<void*>(address), &object) != 0) return false;
  const link_map& map = *object.dlfo_link_map;
  const char* path = map.l_name;
  if (!path || !*path) path = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));  // the program
  location = {path, reinterpret_cast<std::uintptr_t>(address) - map.l_addr, nullptr};
  return true;
}

namespace {

// A line in the making, without the heap.
class Line {
 public:
  Line& operator<<(std::string_view text) {
    const std::size_t size = std::min(text.size(), sizeof text_ - size_);
    std::memcpy(text_ + size_, text.data(), size);
    size_ += size;
    return *this;
  }
  Line& number(std::uintptr_t value, int base) {
    size_ = static_cast<std::size_t>(std::to_chars(text_ + size_, text_ + sizeof text_, value, base).ptr - text_);
    return *this;
  }
  void write(int fd) const {
    for (std::size_t done = 0; done < size_;) {
      const ssize_t written = ::write(fd, text_ + done, size_ - done);
      if (written <= 0) return;
      done += static_cast<std::size_t>(written);
    }
  }

 private:
  char text_[1024];
  std::size_t size_ = 0;
};

}  // namespace

void print_backtrace(int fd) noexcept {
  void* frames[128];
  const int count = ::backtrace(frames, 128);
  for (int i = 1; i < count; ++i) {  // not this function itself
    Line line;
    CodeLocation location;
    (line << "#").number(static_cast<std::uintptr_t>(i - 1), 10) << (i <= 10 ? "  " : " ");
    if (locate_code(frames[i], location)) {
      (line << location.library << "+0x").number(location.offset, 16);
      if (location.interpreter) line << " (" << location.interpreter << ")";
    } else {
      (line << "0x").number(reinterpret_cast<std::uintptr_t>(frames[i]), 16);
    }
    (line << "\n").write(fd);
  }
}

// backtrace() itself needs no stand-in for private code: glibc's goes through the system's unwinder (system_unwinder.cpp). The
// names do, because glibc looks for them in its own list of libraries.
namespace loader {

namespace {

// As glibc writes it: "library(symbol+0x1f) [0x7f0012345678]".
std::string described(const void* address) {
  const auto hexadecimal = [](std::uintptr_t value) {
    char text[2 + 16];
    return "0x" + std::string(text, std::to_chars(text, text + sizeof text, value, 16).ptr);
  };
  const auto value = reinterpret_cast<std::uintptr_t>(address);
  const std::string tail = " [" + hexadecimal(value) + "]";
  Dl_info info;
  if (!address_info(address, &info, nullptr, 0) || !info.dli_fname) return tail.substr(1);
  const auto place = info.dli_sname ? info.dli_sname + ("+" + hexadecimal(value - reinterpret_cast<std::uintptr_t>(info.dli_saddr)))
                                    : "+" + hexadecimal(value - reinterpret_cast<std::uintptr_t>(info.dli_fbase));
  return info.dli_fname + ("(" + place + ")") + tail;
}

char** ns_backtrace_symbols(void* const* addresses, int size) {
  std::string texts;
  std::vector<std::size_t> starts;
  for (int i = 0; i < size; ++i) {
    starts.push_back(texts.size());
    texts += described(addresses[i]) + '\0';
  }
  const std::size_t table = starts.size() * sizeof(char*);
  auto* block = static_cast<char*>(std::malloc(table + texts.size() + 1));  // the caller frees one block
  if (!block) return nullptr;
  auto** result = reinterpret_cast<char**>(block);
  for (std::size_t i = 0; i < starts.size(); ++i) result[i] = block + table + starts[i];
  std::memcpy(block + table, texts.data(), texts.size());
  return result;
}

void ns_backtrace_symbols_fd(void* const* addresses, int size, int fd) {
  for (int i = 0; i < size; ++i) {
    const std::string line = described(addresses[i]) + "\n";
    if (::write(fd, line.data(), line.size()) < 0) return;
  }
}

}  // namespace

std::vector<std::pair<std::string_view, void*>> backtrace_functions() {
  return {{"backtrace_symbols", reinterpret_cast<void*>(ns_backtrace_symbols)},
          {"backtrace_symbols_fd", reinterpret_cast<void*>(ns_backtrace_symbols_fd)}};
}

}  // namespace loader

}  // namespace deploy
