#include "server/cli/step_history.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"

namespace whipsnake::server {

std::string Sparkline(std::span<const double> values, int64_t cells) {
  constexpr std::array kLevels = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  values = values.last(std::min<size_t>(values.size(), std::max<int64_t>(cells, 0)));
  double least = std::numeric_limits<double>::infinity(), greatest = -least;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    least = std::min(least, value);
    greatest = std::max(greatest, value);
  }
  std::string text;
  for (const double value : values) {
    if (!std::isfinite(value)) {
      text += "×";
      continue;
    }
    const double place = greatest > least ? (value - least) / (greatest - least) : 0.0;
    text +=
        kLevels[std::min<size_t>(static_cast<size_t>(place * kLevels.size()), kLevels.size() - 1)];
  }
  return text;
}

LayerMap LayerMap::Parse(std::string_view runs) {
  constexpr size_t kMostLayers = 100'000;
  LayerMap map;
  if (runs.empty()) return map;
  bool active = false;
  for (const absl::string_view length : absl::StrSplit(engine::ToAbsl(runs), ',')) {
    uint32_t count = 0;
    if (!absl::SimpleAtoi(length, &count) || map.active.size() + count > kMostLayers) return {};
    map.active.insert(map.active.end(), count, active);
    active = !active;
  }
  return map;
}

int64_t LayerMap::active_count() const { return std::ranges::count(active, true); }

std::string LayerMap::Strip(int64_t cells) const {
  const int64_t layers = std::ssize(active);
  cells = std::min(cells, layers);
  std::string text;
  for (int64_t cell = 0; cell < cells; ++cell) {
    const int64_t first = cell * layers / cells, end = (cell + 1) * layers / cells;
    const int64_t count = std::count(active.begin() + first, active.begin() + end, true);
    text += count == 0 ? "·" : count == end - first ? "█" : "▒";
  }
  return text;
}

void StepHistory::Add(int64_t step, double loss) {
  while (!steps_.empty() && steps_.back().first >= step) steps_.pop_back();
  steps_.emplace_back(step, loss);
  if (steps_.size() > kMostSteps) steps_.pop_front();
}

std::vector<double> StepHistory::losses() const {
  std::vector<double> losses;
  losses.reserve(steps_.size());
  for (const auto& [step, loss] : steps_) losses.push_back(loss);
  return losses;
}

}  // namespace whipsnake::server
