// A progress bar with the time that is left, for people who wait.
#ifndef WHIPSNAKE_SERVER_CLI_PROGRESS_H_
#define WHIPSNAKE_SERVER_CLI_PROGRESS_H_

#include <chrono>
#include <string>
#include <string_view>

namespace whipsnake::server {

// Draws on stderr if that is a terminal, and only once the work has taken two seconds; silent
// otherwise. Not thread-safe.
class Progress {
 public:
  explicit Progress(std::string what);
  // Wipes the bar off the terminal.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `fraction` of the work is done, 0 to 1. Cheap: redraws ten times a second at most.
  void Set(double fraction);
  // What is being done now; shown from the next redraw on.
  void SetWhat(std::string_view what) { what_ = what; }

 private:
  using Clock = std::chrono::steady_clock;

  std::string what_;
  const bool terminal_;
  bool drawn_ = false;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_ + std::chrono::seconds(2);
};

// One line of the bar: "Evaluating [#####-----] 50%  12.0 s left".
std::string ProgressLine(std::string_view what, double fraction, double elapsed_seconds);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_PROGRESS_H_
