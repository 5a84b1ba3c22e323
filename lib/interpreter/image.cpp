#include "lib/interpreter/image.h"

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "deploy/environment.h"
#include "lib/support/file.h"
#include "lib/support/forks.h"
#include "lib/support/mapped_from.h"

extern "C" {
extern const std::byte deploy_image_files_begin[], deploy_image_files_end[];
extern const std::byte deploy_image_stdlib_begin[], deploy_image_stdlib_end[];
}

namespace deploy {
namespace {

constexpr std::uint64_t kPage = 4096;

// Written by image/pack_files.py.
constexpr struct {
  std::string_view path;
  std::uint64_t offset, size;
} kFiles[] = {
#include "image_files.inc"
};

// For a profiler, which tells functions by the file that they are mapped from (HACKING.md).
bool wants_copy() { return std::getenv("DEPLOY_IMAGE_IN_MEMORY") != nullptr; }

Result<FilePlace> open_files() {
  const std::span<const std::byte> files(deploy_image_files_begin, deploy_image_files_end);
  if (!wants_copy()) {
    auto place = mapped_from(files);
    if (place && place->offset % kPage == 0) return *std::move(place);
  }
  auto copy = FileDescriptor::sealed_memory("deploy-image", files);
  if (!copy) return std::move(copy.failure()).within("the interpreter image");
  return FilePlace{*std::move(copy), 0};
}

}  // namespace

Result<const Image*> Image::get() {
  static ForkLock& mutex = []() -> ForkLock& {
    auto* made = new ForkLock;
    hold_in_forks(*made);
    return *made;
  }();
  // Never deleted: interpreters may outlive every static object.
  static const FilePlace* place = nullptr;
  static const Image* image = nullptr;
  const std::lock_guard lock(mutex);
  if (image == nullptr) {
    auto files = open_files();
    if (!files) return files.failure();
    place = new FilePlace(*std::move(files));
    image = new Image(place->file.get(), place->offset);
  }
  return image;
}

std::optional<loader::EmbeddedFile> Image::find(std::string_view path) const {
  for (const auto& file : kFiles) {
    if (file.path == path) return loader::EmbeddedFile{fd_, offset_ + file.offset, file.size};
  }
  return std::nullopt;
}

std::span<const std::byte> Image::stdlib() const { return {deploy_image_stdlib_begin, deploy_image_stdlib_end}; }

const char* python_version() noexcept { return DEPLOY_PYTHON_VERSION; }

}  // namespace deploy
