#include "lib/loader/relocation_program.h"

#include <algorithm>
#include <mutex>

#include "lib/loader/reloc_x86_64.h"
#include "lib/support/forks.h"

namespace deploy::loader {

namespace {

constexpr std::size_t kHead = 3;
constexpr std::size_t kLargest = 64 * 1024;  // cells of a block
constexpr std::uint64_t kCellsOfWord = 3;    // on average, heads included, hardly more
constexpr std::uint64_t kWord = 8;           // bytes

// Of all answers: a fork cannot wait for a lock that goes.
ForkLock& answers_lock() {
  static ForkLock* const lock = [] {
    auto* made = new ForkLock;
    hold_in_forks(*made);
    return made;
  }();
  return *lock;
}

}  // namespace

std::shared_ptr<const SystemAnswers::Addresses> SystemAnswers::find(const SystemState& state) const {
  const std::lock_guard guard(answers_lock());
  return state_ == state ? addresses_ : nullptr;
}

void SystemAnswers::keep(SystemState state, Addresses addresses) const {
  auto kept = std::make_shared<const Addresses>(std::move(addresses));
  const std::lock_guard guard(answers_lock());
  state_ = std::move(state);
  addresses_ = std::move(kept);
}

void RelocationProgram::begin_group(std::uint32_t base, std::uint32_t place, bool in_row, std::uint64_t expected) {
  if (static_cast<std::size_t>(end_ - at_) < kHead + 2) {
    finish();
    const std::size_t size = std::min<std::uint64_t>(kLargest, expected * kCellsOfWord + kHead + 2);
    blocks_.push_back({std::unique_ptr<std::uint32_t[]>(new std::uint32_t[size]), 0});
    at_ = blocks_.back().cells.get();
    end_ = at_ + size;
  }
  base_ = base;
  in_row_ = in_row;
  at_[0] = base * 2 + (in_row ? 1 : 0);
  at_[1] = 0;
  at_[2] = place;
  count_ = at_ + 1;
  at_ += kHead;
}

void RelocationProgram::finish() {
  if (!blocks_.empty()) blocks_.back().used = static_cast<std::size_t>(at_ - blocks_.back().cells.get());
}

void RelocationProgram::run(std::uintptr_t bias, const std::vector<std::uintptr_t>& values) const {
  for (const Block& block : blocks_) {
    for (const std::uint32_t *at = block.cells.get(), *end = at + block.used; at != end;) {
      const std::uintptr_t value = values[at[0] / 2], place = bias + at[2];
      const bool in_row = at[0] & 1;
      const std::size_t count = at[1];
      at += kHead;
      if (in_row) {
        for (std::size_t i = 0; i < count; ++i) x86_64::write64(place + i * kWord, value + at[i]);
        at += count;
      } else {
        for (std::size_t i = 0; i < count; ++i) x86_64::write64(bias + at[2 * i], value + at[2 * i + 1]);
        at += 2 * count;
      }
    }
  }
}

}  // namespace deploy::loader
