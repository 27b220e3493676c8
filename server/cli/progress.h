// A progress bar with the remaining time.
#ifndef WHIPSNAKE_SERVER_CLI_PROGRESS_H_
#define WHIPSNAKE_SERVER_CLI_PROGRESS_H_

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/progress.h"

namespace whipsnake::server {

// Draws on stderr if it is a terminal, and only after the work has taken two seconds; otherwise
// silent but for Say. Not thread-safe.
class Progress {
 public:
  // `done` is the fraction that was done before, and does not count for the remaining time.
  explicit Progress(std::string what, double done = 0);
  // Erases the bar.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Sets the fraction of the work that is done, 0 to 1. Cheap: redraws at most ten times a second.
  void Set(double fraction);
  // Writes a line that stays, above the bar, also if stderr is no terminal.
  void Say(std::string_view text);
  // Sets the current stage, shown from the next redraw on.
  void SetWhat(std::string_view what) { what_ = what; }

 private:
  using Clock = std::chrono::steady_clock;

  std::string what_;
  const double done_before_;
  const bool terminal_;
  bool drawn_ = false;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_ + std::chrono::seconds(2);
};

// A line on stderr, if it is a terminal, for work whose end is not known. Not thread-safe.
class Note {
 public:
  Note() = default;
  // Erases the line.
  ~Note();
  Note(const Note&) = delete;
  Note& operator=(const Note&) = delete;

  void Set(std::string_view text);

 private:
  bool drawn_ = false;
};

// Shows stages and fractions on `progress`, which must outlive the result.
engine::WorkProgress ShowOn(Progress& progress);

// Returns the bar's line: "Evaluating [#####-----] 50%  12.0 s left". `elapsed_seconds` took the
// work from the fraction `done_before` on. The bar takes what `what` leaves of `columns`
// characters. If that is too little for a bar, the line has none; if even `what` is too long, its
// last parts are left out, where two spaces separate parts.
std::string ProgressLine(std::string_view what, double fraction, double done_before,
                         double elapsed_seconds, int columns = 80);

// The same line with a remaining time that is known, or with none.
std::string BarLine(std::string_view what, double fraction, std::optional<double> seconds_left,
                    int columns);

// The characters that fit into a line of stderr, a terminal, without the cursor going to the next.
int TerminalColumns();

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_PROGRESS_H_
