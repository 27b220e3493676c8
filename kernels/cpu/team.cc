#include "kernels/cpu/team.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace whipsnake::kernels {
namespace {

// Tens of microseconds on current machines.
constexpr int kSpins = 1000;

// The parts of Team::begun_.
constexpr uint32_t kShares = 0xff;
constexpr uint32_t kRound = 0x100;
constexpr int kMaxThreads = 255;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until `value` differs from `old`: spins first, then sleeps.
void WaitWhile(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    Pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

Team::Team(int threads) {
  threads = std::clamp(threads, 1, kMaxThreads);
  begun_ = threads;  // round 0 is over
  workers_.reserve(threads - 1);
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { Worker(); });
  } catch (const std::system_error&) {  // cannot create more threads: use those created
  }
}

Team::~Team() {
  ending_ = true;
  begun_.fetch_add(kRound, std::memory_order_release);
  begun_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Team::Share(Job job) {
  if (workers_.empty()) return job.call(job.work, 0);
  job_ = job;
  unfinished_.store(threads(), std::memory_order_relaxed);
  const uint32_t round = (begun_.load(std::memory_order_relaxed) & ~kShares) + kRound;
  begun_.store(round, std::memory_order_release);
  begun_.notify_all();
  WorkOn(round);
  for (uint32_t left; (left = unfinished_.load(std::memory_order_acquire)) != 0;) {
    WaitWhile(unfinished_, left);
  }
  if (!threw_.load(std::memory_order_relaxed)) return;
  threw_.store(false, std::memory_order_relaxed);
  std::rethrow_exception(std::exchange(thrown_, nullptr));
}

// Catches all exceptions: one that leaves a worker's function would end the process.
void Team::Call(int share) {
  try {
    job_.call(job_.work, share);
  } catch (...) {
    if (!threw_.exchange(true, std::memory_order_relaxed)) thrown_ = std::current_exception();
  }
}

void Team::WorkOn(uint32_t round) {
  while (true) {
    uint32_t begun = begun_.load(std::memory_order_acquire);
    do {
      const bool over =
          (begun & ~kShares) != round || static_cast<int>(begun & kShares) == threads();
      if (over) return;
    } while (!begun_.compare_exchange_weak(begun, begun + 1, std::memory_order_acq_rel));
    Call(static_cast<int>(begun & kShares));
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  }
}

void Team::Worker() {
  uint32_t last = 0;  // the last round that this worker saw; round 0 is over
  while (true) {
    const uint32_t begun = begun_.load(std::memory_order_acquire);
    const uint32_t round = begun & ~kShares;
    if (round == last) {
      WaitWhile(begun_, begun);
    } else if (ending_) {
      return;
    } else {
      WorkOn(round);
      last = round;
    }
  }
}

}  // namespace whipsnake::kernels
