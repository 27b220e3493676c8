// The threads that share the work of one kernel call.
//
// Our own rather than OpenMP's, because a daemon's neighbours matter. OpenMP waits at every barrier
// for each of its threads, spinning for milliseconds, so that under a CPU quota or beside other
// work a kernel takes many times as long as it computes; and neither its wait policy nor its teams
// can be set from inside the process. Here a share of the work that no worker has begun is done by
// the caller, and idle workers spin for some microseconds, about the pause between two kernels of a
// model, and then sleep. They are also visible to ThreadSanitizer.
#ifndef WHIPSNAKE_KERNELS_CPU_TEAM_H_
#define WHIPSNAKE_KERNELS_CPU_TEAM_H_

#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace whipsnake::kernels {

// One thread at a time may call Run.
class Team {
 public:
  // 1 to 255 threads: the caller of Run and threads - 1 workers. Others are brought into that
  // range. Fewer where the system has no more.
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls work(share) once for every share in [0, threads()), on the calling thread or a worker,
  // and returns when all are done. Inside `work` the current team is a single thread. What a share
  // throws, as std::bad_alloc where there is no memory, is thrown here once all have ended: of
  // several, any one.
  template <typename Work>
  void Run(const Work& work) {
    Share({[](const void* w, int share) { (*static_cast<const Work*>(w))(share); }, &work});
  }

  // The team of this thread: the one that the innermost live Scope installed, else one thread.
  static Team& Current();

  // Installs a team as the calling thread's. Not movable; scopes nest.
  class Scope {
   public:
    explicit Scope(Team* team);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Team* const previous_;
  };

 private:
  struct Job {
    void (*call)(const void* work, int share) = nullptr;
    const void* work = nullptr;
  };

  void Share(Job job);
  void Worker();
  // Does shares of `round` until none is left to begin.
  void WorkOn(uint32_t round);
  void Call(int share);

  Job job_;  // of the present round; only whoever holds an unfinished share may read it
  // The number of the round above its low 8 bits, which count the shares that were begun.
  std::atomic<uint32_t> begun_;
  std::atomic<uint32_t> unfinished_{0};  // shares
  std::atomic<bool> ending_{false};
  std::atomic<bool> threw_{false};  // a share of the present round, which alone may then write:
  std::exception_ptr thrown_;
  std::vector<std::thread> workers_;
};

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_TEAM_H_
