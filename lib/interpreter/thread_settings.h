#pragma once

#include <xmmintrin.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "lib/loader/namespace.h"
#include "lib/loader/openmp.h"

// What belongs to a thread and decides what a computation gives and how fast: the arithmetic state and the number of OpenMP
// threads. Private code has its own for each thread of the host (D8): torch.set_flush_denormal, fesetround and
// torch.set_num_threads of one interpreter act neither in another one nor in the host, and hold at its next call on that thread.
namespace deploy::detail {

// Control bits of the SSE unit (flush-to-zero, denormals-are-zero, rounding, masks of exceptions) and of the x87 (rounding,
// precision, masks). As a thread of a new process has them: psABI x86-64, section 3.4.1. Without the flags of past exceptions.
struct ArithmeticState {
  // MXCSR, and the x87's control word above it: one number, which is compared without a way through memory at every call.
  std::uint64_t bits = 0x1f80 | std::uint64_t{0x037f} << 32;

  static ArithmeticState read() {
    std::uint16_t x87;
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    return {(_mm_getcsr() & ~std::uint64_t{0x3f}) | std::uint64_t{x87} << 32};
  }
  void load() const {
    _mm_setcsr(static_cast<std::uint32_t>(bits));
    // A flag that is left behind would raise its exception late, where the new state does not mask it.
    const auto x87 = static_cast<std::uint16_t>(bits >> 32);
    __asm__ volatile("fnclex\n\tfldcw %0" : : "m"(x87));
  }
  bool operator==(const ArithmeticState&) const = default;
};

// Those of one interpreter on one thread.
struct ThreadSettings {
  ArithmeticState arithmetic;
  std::array<int, loader::OpenMp::kMost> openmp = {};  // by run time; 0: not set yet
};

// For its life the calling thread has the interpreter's settings; then the host's again, and what the interpreter has changed is
// kept. Nests, also with other interpreters.
class ThreadSettingsScope {
 public:
  ThreadSettingsScope(ThreadSettings& own, const loader::Namespace& space) : own_(own), space_(space) {
    const ArithmeticState host = ArithmeticState::read();
    if (host != own_.arithmetic) own_.arithmetic.load();
    host_.arithmetic = host;
    const auto runtimes = space_.openmp_runtimes();
    known_ = runtimes.size();
    for (std::size_t i = 0; i < known_; ++i) {
      host_.openmp[i] = runtimes[i].max_threads();
      const int wanted = own_.openmp[i] ? own_.openmp[i] : runtimes[i].default_threads;
      if (wanted != host_.openmp[i]) runtimes[i].set_num_threads(wanted);
    }
  }
  ~ThreadSettingsScope() {
    const ArithmeticState own = ArithmeticState::read();
    if (host_.arithmetic != own) host_.arithmetic.load();
    own_.arithmetic = own;
    const auto runtimes = space_.openmp_runtimes();
    for (std::size_t i = 0; i < runtimes.size(); ++i) {
      own_.openmp[i] = runtimes[i].max_threads();
      const int host = i < known_ ? host_.openmp[i] : before(runtimes[i]);
      if (host != own_.openmp[i]) runtimes[i].set_num_threads(host);
    }
  }
  ThreadSettingsScope(const ThreadSettingsScope&) = delete;
  ThreadSettingsScope& operator=(const ThreadSettingsScope&) = delete;

 private:
  // Of a run time that was opened meanwhile.
  static int before(const loader::OpenMpRuntime& runtime) {
    return ::pthread_equal(runtime.found_by, ::pthread_self()) ? runtime.found_threads : runtime.default_threads;
  }

  ThreadSettings& own_;
  const loader::Namespace& space_;
  ThreadSettings host_;
  std::size_t known_ = 0;
};

}  // namespace deploy::detail
