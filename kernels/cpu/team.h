// A team of threads that share the work of one kernel call.
//
// The project uses this instead of OpenMP because the daemon may share its machine with other work.
// At every barrier OpenMP waits for each of its threads, spinning for milliseconds, so that under a
// CPU quota or beside other work a kernel takes many times its computing time. Neither OpenMP's
// wait policy nor its teams can be set from inside the process. Here the caller does every share
// that no worker has begun. Idle workers spin for tens of microseconds, about the pause between two
// kernels of a model, and then sleep. ThreadSanitizer also sees this synchronization.
#ifndef WHIPSNAKE_KERNELS_CPU_TEAM_H_
#define WHIPSNAKE_KERNELS_CPU_TEAM_H_

#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace whipsnake::kernels {

// Only one thread at a time may call Run.
class Team {
 public:
  // A team of `threads` threads: the caller of Run and threads - 1 workers. `threads` is clamped to
  // [1, 255]. The team is smaller if the system cannot create that many threads.
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls work(share) once for every share in [0, threads()), on the calling thread or a worker,
  // and returns when all shares are done. `work` may not call Run of the same team. If shares throw
  // (std::bad_alloc, for example), Run throws one of the exceptions after all shares have ended.
  template <typename Work>
  void Run(const Work& work) {
    Share({[](const void* w, int share) { (*static_cast<const Work*>(w))(share); }, &work});
  }

 private:
  struct Job {
    void (*call)(const void* work, int share) = nullptr;
    const void* work = nullptr;
  };

  void Share(Job job);
  void Worker();
  // Runs shares of `round` until none is left to begin.
  void WorkOn(uint32_t round);
  void Call(int share);

  Job job_;  // the current round's; read only while running one of its shares
  // The low 8 bits count the shares begun in the current round. The bits above hold the round's
  // number.
  std::atomic<uint32_t> begun_;
  std::atomic<uint32_t> unfinished_{0};  // shares of the current round
  std::atomic<bool> ending_{false};
  // Set by the first share of the current round that throws; only that share writes thrown_.
  std::atomic<bool> threw_{false};
  std::exception_ptr thrown_;
  std::vector<std::thread> workers_;
};

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_TEAM_H_
