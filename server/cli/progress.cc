#include "server/cli/progress.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include "absl/strings/str_format.h"
#include "engine/base/human.h"
#include "server/cli/output.h"

namespace whipsnake::server {
namespace {

constexpr int kCells = 24;
constexpr char kWipeLine[] = "\r\033[K";

}  // namespace

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
  std::cerr << kWipeLine << ProgressLine(what_, fraction, done_before_, elapsed) << std::flush;
}

engine::WorkProgress ShowOn(Progress& progress) {
  return [&progress](std::string_view what, double fraction) {
    progress.SetWhat(what);
    progress.Set(fraction);
    return absl::OkStatus();
  };
}

std::string ProgressLine(std::string_view what, double fraction, double done_before,
                         double elapsed_seconds) {
  fraction = std::clamp(fraction, 0.0, 1.0);
  const int full = static_cast<int>(fraction * kCells);
  std::string line =
      absl::StrFormat("%s [%s%s] %d%%", std::string(what), std::string(full, '#'),
                      std::string(kCells - full, '-'), static_cast<int>(fraction * 100));
  if (fraction > done_before) {
    const double left = elapsed_seconds * (1 - fraction) / (fraction - done_before);
    line += "  " + engine::HumanDuration(left) + " left";
  }
  return line;
}

}  // namespace whipsnake::server
