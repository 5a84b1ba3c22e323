#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>
#include <set>

#include "lib/loader/heap/heap.h"

// The calling thread's state in each heap; see "Threads" in heap.h.
//
// One place in static TLS holds the state of mimalloc at hand. What a thread has in other heaps is kept in a list of its own, by
// serial number: nothing in it points anywhere, so a heap that is gone leaves a dead entry behind, which goes when the list next
// grows, and nobody has to look for threads when a heap ends. Conversely a thread that ends must not run code of a namespace that
// is being unmapped: it holds the lock of `living` while it tells its heaps, and only those that are still in the set.

namespace deploy::loader {

namespace {

constexpr std::size_t kStateSize = 16;  // mimalloc's is 9 bytes

struct Living {
  std::mutex lock;                                  // not a shared one: glibc's cannot be opened by a forked child
  std::set<std::pair<std::uint64_t, Heap*>> heaps;  // guarded by lock
};

// Never destroyed: threads end after static objects.
Living& living() {
  static Living* const instance = [] {
    auto* made = new Living;
    static Living* forked = nullptr;
    forked = made;
    static constexpr auto unlock = [] {
      for (const auto& [serial, heap] : forked->heaps) heap->large().unlock();
      forked->lock.unlock();
    };
    static constexpr auto lock = [] {
      forked->lock.lock();
      for (const auto& [serial, heap] : forked->heaps) heap->large().lock();
    };
    pthread_atfork(lock, unlock, unlock);
    return made;
  }();
  return *instance;
}

struct State {
  std::uint64_t serial = 0;
  std::byte bytes[kStateSize] = {};
};

extern "C" thread_local std::uint64_t deploy_current_heap __attribute__((tls_model("initial-exec")));
thread_local std::uint64_t deploy_current_heap = 0;

// All heaps that this thread has entered.
thread_local std::vector<State>* t_states __attribute__((tls_model("initial-exec"))) = nullptr;

// Where mimalloc's thread state lies: the same distance from the thread pointer for all copies and all threads.
StaticTls g_place{};

std::byte* place() {
  std::uintptr_t thread_pointer;
  __asm__("mov %%fs:0, %0" : "=r"(thread_pointer));
  return reinterpret_cast<std::byte*>(thread_pointer + static_cast<std::uintptr_t>(g_place.offset));
}

State* state_of(std::uint64_t serial) {
  const auto found = std::find_if(t_states->begin(), t_states->end(), [=](const State& s) { return s.serial == serial; });
  return found == t_states->end() ? nullptr : &*found;
}

void put_away() {
  if (deploy_current_heap == 0) return;
  if (State* state = state_of(deploy_current_heap)) std::memcpy(state->bytes, place(), kStateSize);
  deploy_current_heap = 0;
}

void take_out(const State& state) {
  std::memcpy(place(), state.bytes, kStateSize);
  deploy_current_heap = state.serial;
}

void forget_dead() {
  Living& alive = living();
  const std::lock_guard guard(alive.lock);
  std::erase_if(*t_states, [&](const State& state) {
    const auto from = alive.heaps.lower_bound({state.serial, nullptr});
    return from == alive.heaps.end() || from->first != state.serial;
  });
}

// The thread has run all its destructors.
void thread_ends(void*) {
  put_away();
  Living& alive = living();
  const std::lock_guard guard(alive.lock);
  for (const State& state : *t_states) {
    const auto heap = alive.heaps.lower_bound({state.serial, nullptr});
    if (heap == alive.heaps.end() || heap->first != state.serial || !heap->second->allocator()) continue;
    take_out(state);
    heap->second->allocator()->end_thread();
  }
  deploy_current_heap = 0;
  delete std::exchange(t_states, nullptr);
}

}  // namespace

// Befriended by Heap.
struct HeapThreads {
  static State first_state(deploy_heap* shared) {
    const Heap& heap = Heap::of(shared);
    State state{shared->serial};
    std::memcpy(state.bytes, heap.thread_state_.data(), heap.thread_state_.size());
    return state;
  }
};

void heap_enter(deploy_heap* heap) {
  if (deploy_current_heap == heap->serial) return;
  if (!t_states) {
    t_states = new std::vector<State>;
    tls_when_thread_ended(thread_ends, nullptr);
  }
  put_away();
  State* state = state_of(heap->serial);
  if (!state) {
    forget_dead();
    t_states->push_back(HeapThreads::first_state(heap));
    state = &t_states->back();
  }
  take_out(*state);
}

void heap_live(Heap& heap) {
  const std::lock_guard guard(living().lock);
  living().heaps.emplace(heap.serial(), &heap);
}

void heap_retired(Heap& heap) {
  const std::lock_guard guard(living().lock);
  living().heaps.erase({heap.serial(), &heap});
}

void* heap_current_symbol() { return &deploy_current_heap; }

Result<StaticTls> Heap::thread_state_place(const TlsImage& tls) {
  static std::mutex lock;
  const std::lock_guard guard(lock);
  if (tls.memory_size > kStateSize || tls.alignment > alignof(std::max_align_t)) {
    return Failure{ErrorCode::kLoader, "the allocator has " + std::to_string(tls.memory_size) + " bytes of thread-local state, " +
                                           std::to_string(kStateSize) + " are provided"};
  }
  if (g_place.size == 0) {
    auto reserved = tls_static_reserve({nullptr, 0, kStateSize, alignof(std::max_align_t)});
    if (!reserved) return reserved.failure();
    g_place = *reserved;
  }
  return g_place;
}

}  // namespace deploy::loader
