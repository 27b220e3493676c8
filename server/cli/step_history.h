// The losses and the active layers of a run's last steps, drawn with Unicode characters.
#ifndef WHIPSNAKE_SERVER_CLI_STEP_HISTORY_H_
#define WHIPSNAKE_SERVER_CLI_STEP_HISTORY_H_

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace whipsnake::server {

// Draws the last `cells` values, one a character, from ▁, the least of them, to █, the greatest; ×
// for one that is not finite.
std::string Sparkline(std::span<const double> values, int64_t cells);

// Layers, and which of them are active.
struct LayerMap {
  std::vector<bool> active;

  // Reads StepTaken.active: lengths of runs of frozen and active layers in turn, frozen ones first.
  // Empty for a text of another form, or of more than 100,000 layers.
  static LayerMap Parse(std::string_view runs);
  int64_t active_count() const;
  // Draws the layers in at most `cells` characters: █ for active layers, · for frozen ones, ▒ for
  // some of both.
  std::string Strip(int64_t cells) const;
};

// Not thread-safe.
class StepHistory {
 public:
  // Steps come in ascending order within an attempt. A step that was there before begins the next
  // attempt, and forgets what the attempt before did from there on.
  void Add(int64_t step, double loss);
  // In the order of steps, at most kMostSteps.
  std::vector<double> losses() const;

  static constexpr size_t kMostSteps = 4096;

 private:
  std::deque<std::pair<int64_t, double>> steps_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_CLI_STEP_HISTORY_H_
