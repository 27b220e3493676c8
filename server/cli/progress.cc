#include "server/cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <utility>

#include "absl/strings/str_format.h"
#include "engine/base/human.h"
#include "engine/base/utf8.h"
#include "server/cli/output.h"

namespace whipsnake::server {
namespace {

constexpr int kFewestCells = 8, kMostCells = 24;
constexpr char kWipeLine[] = "\r\033[K";

// Leaves out the last parts until the text has at most so many characters or is one part.
std::string_view FirstParts(std::string_view text, int64_t characters) {
  while (engine::CountCharacters(text) > characters) {
    const size_t end = text.rfind("  ");
    if (end == text.npos) break;
    text = text.substr(0, end);
  }
  return text;
}

}  // namespace

int TerminalColumns() {
  winsize size{};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return (known ? size.ws_col : 80) - 1;
}

Progress::Progress(std::string what, double done)
    : what_(std::move(what)), done_before_(done), terminal_(StderrIsTerminal()) {}

Progress::~Progress() {
  if (drawn_) std::cerr << kWipeLine << std::flush;
}

void Progress::Set(double fraction) {
  if (!terminal_) return;
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  next_ = now + std::chrono::milliseconds(100);
  drawn_ = true;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  std::cerr << kWipeLine << ProgressLine(what_, fraction, done_before_, elapsed, TerminalColumns())
            << std::flush;
}

void Progress::Say(std::string_view text) {
  if (std::exchange(drawn_, false)) std::cerr << kWipeLine;
  std::cerr << text << std::endl;
}

Note::~Note() {
  if (drawn_) std::cerr << kWipeLine << std::flush;
}

void Note::Set(std::string_view text) {
  if (!StderrIsTerminal()) return;
  drawn_ = true;
  std::cerr << kWipeLine << FirstParts(text, TerminalColumns()) << std::flush;
}

engine::WorkProgress ShowOn(Progress& progress) {
  return [&progress](std::string_view what, double fraction) {
    progress.SetWhat(what);
    progress.Set(fraction);
    return absl::OkStatus();
  };
}

std::string ProgressLine(std::string_view what, double fraction, double done_before,
                         double elapsed_seconds, int columns) {
  fraction = std::clamp(fraction, 0.0, 1.0);
  std::optional<double> left;
  if (fraction > done_before) left = elapsed_seconds * (1 - fraction) / (fraction - done_before);
  return BarLine(what, fraction, left, columns);
}

std::string BarLine(std::string_view what, double fraction, std::optional<double> seconds_left,
                    int columns) {
  fraction = std::clamp(fraction, 0.0, 1.0);
  std::string end = absl::StrFormat(" %d%%", static_cast<int>(fraction * 100));
  if (seconds_left) end += "  " + engine::HumanDuration(*seconds_left) + " left";
  const int64_t room = columns - engine::CountCharacters(end);
  const std::string shown(FirstParts(what, room));
  const int64_t frame = 3;  // of the bar: " [" and "]"
  const int64_t cells =
      std::min<int64_t>(kMostCells, room - engine::CountCharacters(shown) - frame);
  if (cells < kFewestCells) return shown + end;
  const auto full = static_cast<int64_t>(fraction * static_cast<double>(cells));
  return absl::StrFormat("%s [%s%s]%s", shown, std::string(full, '#'),
                         std::string(cells - full, '-'), end);
}

}  // namespace whipsnake::server
