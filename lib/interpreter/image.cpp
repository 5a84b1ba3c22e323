#include "lib/interpreter/image.h"

#include <cstdint>
#include <mutex>
#include <utility>

#include "deploy/environment.h"
#include "lib/support/file.h"

extern "C" {
extern const std::byte deploy_image_files_begin[], deploy_image_files_end[];
extern const std::byte deploy_image_stdlib_begin[], deploy_image_stdlib_end[];
}

namespace deploy {
namespace {

// Written by image/pack_files.py.
constexpr struct {
  std::string_view path;
  std::uint64_t offset, size;
} kFiles[] = {
#include "image_files.inc"
};

}  // namespace

Result<const Image*> Image::get() {
  static std::mutex mutex;
  // Never deleted: interpreters may outlive every static object.
  static const FileDescriptor* memory = nullptr;
  static const Image* image = nullptr;
  const std::lock_guard lock(mutex);
  if (image == nullptr) {
    auto file = FileDescriptor::sealed_memory("deploy-image", {deploy_image_files_begin, deploy_image_files_end});
    if (!file) return std::move(file.failure()).within("the interpreter image");
    memory = new FileDescriptor(*std::move(file));
    image = new Image(memory->get());
  }
  return image;
}

std::optional<loader::EmbeddedFile> Image::find(std::string_view path) const {
  for (const auto& file : kFiles) {
    if (file.path == path) return loader::EmbeddedFile{fd_, file.offset, file.size};
  }
  return std::nullopt;
}

std::span<const std::byte> Image::stdlib() const { return {deploy_image_stdlib_begin, deploy_image_stdlib_end}; }

const char* python_version() noexcept { return DEPLOY_PYTHON_VERSION; }

}  // namespace deploy
