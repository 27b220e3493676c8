// The threads that share the work of one kernel call.
//
// Our own rather than OpenMP's, because a daemon's neighbours matter: OpenMP's threads spin for
// milliseconds at every barrier, which under a CPU quota or beside other work costs many times what
// the kernel does, and neither its wait policy nor its teams can be set from inside the process.
// These spin for some microseconds, about the pause between two kernels of a model, and then sleep.
// They are also visible to ThreadSanitizer.
#ifndef WHIPSNAKE_KERNELS_CPU_TEAM_H_
#define WHIPSNAKE_KERNELS_CPU_TEAM_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace whipsnake::kernels {

// One thread at a time may call Run.
class Team {
 public:
  // threads >= 1: the caller of Run and threads - 1 workers.
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls work(member) for every member in [0, threads()), 0 on the calling thread, and returns
  // when all have. Inside `work` the current team is a single thread.
  template <typename Work>
  void Run(const Work& work) {
    Share({[](const void* w, int member) { (*static_cast<const Work*>(w))(member); }, &work});
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
    void (*call)(const void* work, int member) = nullptr;  // null: the team ends
    const void* work = nullptr;
  };

  void Share(Job job);
  void Worker(int member);

  Job job_;                           // written before `round_` moves on
  std::atomic<uint32_t> round_{0};    // counts the jobs
  std::atomic<uint32_t> working_{0};  // workers that have not finished this round
  std::vector<std::thread> workers_;
};

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_CPU_TEAM_H_
