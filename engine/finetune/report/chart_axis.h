// The axes of charts: which part of an axis a number takes, and where the round numbers are.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_REPORT_CHART_AXIS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_REPORT_CHART_AXIS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace whipsnake::engine {

// Larger numbers, infinity and NaN have no place on an axis.
inline constexpr double kLargestDrawn = 1e100;
inline bool IsDrawn(double value) { return value >= -kLargestDrawn && value <= kLargestDrawn; }

class Axis {
 public:
  struct Tick {
    double position = 0;
    std::string label;
  };

  // From 0 to `last` (at least 1), with ticks at whole numbers.
  static Axis OfSteps(int64_t last);
  // From `low` to `high`, both drawn, extended to the next ticks. Numbers that differ by less than
  // they can be told apart get a wider axis around them.
  static Axis Linear(double low, double high);
  // The same on a logarithmic scale, for 0 < low <= high.
  static Axis Logarithmic(double low, double high);

  // In [0,1] for a number of the axis.
  double Position(double value) const;
  const std::vector<Tick>& ticks() const { return ticks_; }

 private:
  Axis(double low, double high, bool logarithmic);
  void AddTick(double value, std::string label) {
    ticks_.push_back({Position(value), std::move(label)});
  }

  double low_, high_;  // their logarithms on a logarithmic scale
  bool logarithmic_;
  std::vector<Tick> ticks_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_REPORT_CHART_AXIS_H_
