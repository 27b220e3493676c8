// Charts of numbers over the steps of a run, as HTML with SVG inside.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_REPORT_LINE_CHART_H_
#define WHIPSNAKE_ENGINE_FINETUNE_REPORT_LINE_CHART_H_

#include <cstdint>
#include <string>
#include <vector>

namespace whipsnake::engine {

struct ChartPoint {
  double step = 0;
  double value = 0;

  friend bool operator==(const ChartPoint&, const ChartPoint&) = default;
};

// How a series is drawn. The names are those of classes in the style sheet. kEdge: a line that
// never has dots. kArea: what is below the line, down to the axis, filled.
enum class Mark { kFaint, kLine, kDashed, kEdge, kArea, kPoints };

struct Series {
  std::string name;  // in the legend; "" for none
  Mark mark = Mark::kLine;
  std::vector<ChartPoint> points;  // in the order of steps; of an area, all can be drawn
  std::string shade = {};          // of an area: another class in the style sheet, with its colour
};

// kLinear and kFromZero: as their names say. kAny: logarithmic if all values are above 0 and the
// largest is 100 times the smallest or more, otherwise linear.
enum class Scale { kLinear, kFromZero, kAny };

struct LineChart {
  std::string title;
  std::string unit = {};  // "" for none
  int64_t last_step = 1;
  Scale scale = Scale::kLinear;
  std::vector<Series> series = {};  // later ones are drawn over earlier ones
};

inline constexpr int64_t kMostPoints = 2000;    // of a line
inline constexpr int64_t kMostDots = 60;        // of a series of kPoints; more are only a line
inline constexpr int64_t kFewestSmoothed = 20;  // steps; the line of fewer has dots

// Adds the values of all steps: a line or, if there are enough of them, a faint line and one of
// their smoothed values.
void AddSteps(std::vector<ChartPoint> points, LineChart& chart);

// The means of the values around each point, with weights exp(-|distance| / reach), where the
// distance is counted in points. Values that cannot be drawn have no weight; points that are far
// from all others are left out.
std::vector<ChartPoint> Smoothed(const std::vector<ChartPoint>& points, double reach);

// At most `most` (4 or more) of the points: the first, the last and, of each of equal parts
// between, the ones with the least and the greatest value that can be drawn.
std::vector<ChartPoint> Thinned(const std::vector<ChartPoint>& points, int64_t most);

// A <figure> of fixed height that takes the whole width. Points whose value cannot be drawn are
// left out and counted below the chart.
std::string ToHtml(const LineChart& chart);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_REPORT_LINE_CHART_H_
