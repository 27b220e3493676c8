#include "kernels/cpu/team.h"

#include <algorithm>

namespace whipsnake::kernels {
namespace {

// Tens of microseconds on current machines.
constexpr int kSpins = 1000;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until `value` is no longer `old`: awake at first, then asleep.
void WaitWhile(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    Pause();
  }
  value.wait(old, std::memory_order_acquire);
}

thread_local Team* current_team = nullptr;

}  // namespace

Team::Team(int threads) {
  for (int member = 1; member < threads; ++member) {
    workers_.emplace_back([this, member] { Worker(member); });
  }
}

Team::~Team() {
  Share({});
  for (std::thread& worker : workers_) worker.join();
}

Team& Team::Current() {
  static Team alone(1);
  return current_team != nullptr ? *current_team : alone;
}

Team::Scope::Scope(Team* team) : previous_(current_team) { current_team = team; }
Team::Scope::~Scope() { current_team = previous_; }

void Team::Share(Job job) {
  if (!workers_.empty()) {
    job_ = job;
    working_.store(static_cast<uint32_t>(workers_.size()), std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
  }
  if (job.call != nullptr) {
    const Scope alone(nullptr);
    job.call(job.work, 0);
  }
  for (uint32_t left; (left = working_.load(std::memory_order_acquire)) != 0;) {
    WaitWhile(working_, left);
  }
}

void Team::Worker(int member) {
  for (uint32_t round = 0;; ++round) {
    WaitWhile(round_, round);
    const Job job = job_;
    if (job.call != nullptr) job.call(job.work, member);
    // The caller may start the next round, or end the team, as soon as the last worker is done.
    if (working_.fetch_sub(1, std::memory_order_acq_rel) == 1) working_.notify_one();
    if (job.call == nullptr) return;
  }
}

}  // namespace whipsnake::kernels
