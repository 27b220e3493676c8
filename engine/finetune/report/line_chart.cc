#include "engine/finetune/report/line_chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/finetune/report/chart_axis.h"
#include "engine/finetune/report/html.h"

namespace whipsnake::engine {
namespace {

// The coordinates of the SVG, which the browser stretches to the size of the chart.
constexpr int kWidth = 4000, kHeight = 1000;

std::string_view CssClass(Mark mark) {
  switch (mark) {
    case Mark::kFaint:
      return "faint";
    case Mark::kLine:
      return "line";
    case Mark::kDashed:
      return "dashed";
    case Mark::kEdge:
      return "edge";
    case Mark::kArea:
      return "area";
    case Mark::kPoints:
      return "points";
  }
  return "";
}

std::string CssClasses(const Series& series) {
  const absl::string_view mark = ToAbsl(CssClass(series.mark));
  return series.shade.empty() ? std::string(mark) : absl::StrCat(mark, " ", series.shade);
}

// Whether each point has a dot of its own.
bool HasDots(const Series& series) {
  const int64_t count = std::ssize(series.points);
  return series.mark == Mark::kPoints ? count <= kMostDots
                                      : series.mark == Mark::kLine && count < kFewestSmoothed;
}

bool IsDrawnPoint(const ChartPoint& point) { return IsDrawn(point.value); }

// Values and their weights, of which older ones count less and less.
struct FadingSum {
  double values = 0;
  double weights = 0;

  void Fade(double factor) {
    values *= factor;
    weights *= factor;
  }
  void Add(double value) {
    if (!IsDrawn(value)) return;
    values += value;
    weights += 1;
  }
};

// The least and the greatest value of all series that can be drawn.
struct ValueRange {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  bool empty() const { return low > high; }
};

ValueRange RangeOf(const LineChart& chart) {
  ValueRange range;
  for (const Series& series : chart.series) {
    for (const ChartPoint& point : series.points) {
      if (!IsDrawnPoint(point)) continue;
      range.low = std::min(range.low, point.value);
      range.high = std::max(range.high, point.value);
    }
  }
  return range;
}

Axis ValueAxis(const LineChart& chart) {
  const ValueRange range = RangeOf(chart);
  if (range.empty()) return Axis::Linear(0, 1);
  if (chart.scale == Scale::kFromZero) return Axis::Linear(std::min(0.0, range.low), range.high);
  if (chart.scale == Scale::kAny && range.low > 1 / kLargestDrawn &&
      range.high / range.low >= 100) {
    return Axis::Logarithmic(range.low, range.high);
  }
  return Axis::Linear(range.low, range.high);
}

// Draws one chart.
class ChartDrawing {
 public:
  explicit ChartDrawing(const LineChart& chart)
      : chart_(chart),
        steps_(Axis::OfSteps(std::max<int64_t>(chart.last_step, 1))),
        values_(ValueAxis(chart)) {}

  std::string ToHtml() const {
    return absl::StrFormat(
        "<figure class=\"chart\"><figcaption><h3>%s%s</h3>%s</figcaption>\n"
        "<div class=\"plot\" style=\"margin-left:%dch\"><svg viewBox=\"0 0 %d %d\" "
        "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"%s by step\">\n%s%s</svg>%s</div>"
        "%s</figure>\n",
        Escaped(chart_.title),
        chart_.unit.empty() ? "" : Element("small", absl::StrCat(" ", Escaped(chart_.unit))),
        Legend(), LabelWidth() + 1, kWidth, kHeight, Escaped(chart_.title), Grid(), Lines(),
        Labels(), Note());
  }

 private:
  std::string Legend() const {
    std::string items;
    for (const Series& series : chart_.series) {
      if (series.name.empty()) continue;
      items += Element("li", CssClasses(series), Escaped(series.name));
    }
    return Element("ul", "legend", items);
  }

  // The characters of the longest label of a value.
  int64_t LabelWidth() const {
    int64_t width = 0;
    for (const Axis::Tick& tick : values_.ticks()) {
      width = std::max(width, CountCharacters(tick.label));
    }
    return width;
  }

  std::string Grid() const {
    std::string path;
    for (const Axis::Tick& tick : values_.ticks()) {
      absl::StrAppend(&path, "M0 ", Y(tick.position), "H", kWidth);
    }
    return absl::StrCat("<path class=\"grid\" d=\"", path, "\"/>\n");
  }

  std::string Lines() const {
    std::string paths;
    for (const Series& series : chart_.series) {
      absl::StrAppendFormat(&paths, "<path class=\"%s\" d=\"%s%s\"/>\n", CssClasses(series),
                            LinePath(Thinned(series.points, kMostPoints)), AreaEnd(series));
      if (HasDots(series)) paths += Dots(series);
    }
    return paths;
  }

  // A line through the points, interrupted where a value cannot be drawn. "h0" makes a dot of a
  // point without neighbours.
  std::string LinePath(const std::vector<ChartPoint>& points) const {
    std::string path;
    bool begins = true;
    for (const ChartPoint& point : points) {
      if (IsDrawnPoint(point)) {
        absl::StrAppend(&path, begins ? "M" : "L", Place(point), begins ? "h0" : "");
      }
      begins = !IsDrawnPoint(point);
    }
    return path;
  }

  // From the end of an area's line down to the axis and back to its beginning.
  std::string AreaEnd(const Series& series) const {
    if (series.mark != Mark::kArea || series.points.empty()) return "";
    return absl::StrCat("V", kHeight, "H", X(series.points.front().step), "Z");
  }

  std::string Dots(const Series& series) const {
    std::string dots;
    for (const ChartPoint& point : series.points) {
      if (!IsDrawnPoint(point)) continue;
      absl::StrAppendFormat(&dots, "<path class=\"%s dot\" d=\"M%sh0\"><title>%s</title></path>\n",
                            ToAbsl(CssClass(series.mark)), Place(point),
                            Escaped(absl::StrCat(series.name, series.name.empty() ? "" : ", ",
                                                 "step ", HumanCount(std::llround(point.step)),
                                                 ": ", HumanNumber(point.value))));
    }
    return dots;
  }

  std::string Labels() const {
    std::string labels;
    for (const Axis::Tick& tick : values_.ticks()) {
      absl::StrAppendFormat(&labels, "<span class=\"y\" style=\"top:%.4g%%\">%s</span>",
                            100 * (1 - tick.position), tick.label);
    }
    for (const Axis::Tick& tick : steps_.ticks()) {
      absl::StrAppendFormat(&labels, "<span class=\"x\" style=\"left:%.4g%%\">%s</span>",
                            100 * tick.position, tick.label);
    }
    return labels + Element("span", "x-title", "step");
  }

  std::string Note() const {
    int64_t count = 0;
    for (const Series& series : chart_.series) {
      count += std::ssize(series.points) - std::ranges::count_if(series.points, IsDrawnPoint);
    }
    if (count == 0) return "";
    return Element("p", "note",
                   absl::StrCat(HumanCount(count), count == 1 ? " value is" : " values are",
                                " not finite and not drawn."));
  }

  static int Y(double position) { return static_cast<int>(std::lround(kHeight * (1 - position))); }
  int64_t X(double step) const { return std::lround(kWidth * steps_.Position(step)); }
  std::string Place(const ChartPoint& point) const {
    return absl::StrCat(X(point.step), " ", Y(values_.Position(point.value)));
  }

  const LineChart& chart_;
  const Axis steps_;
  const Axis values_;
};

}  // namespace

void AddSteps(std::vector<ChartPoint> points, LineChart& chart) {
  const int64_t count = std::ssize(points);
  if (count < kFewestSmoothed) {
    chart.series.push_back({"training", Mark::kLine, std::move(points)});
    return;
  }
  std::vector<ChartPoint> smoothed =
      Smoothed(points, std::max(2.0, static_cast<double>(count) / 50));
  chart.series.push_back({"each step", Mark::kFaint, std::move(points)});
  chart.series.push_back({"smoothed", Mark::kLine, std::move(smoothed)});
}

std::vector<ChartPoint> Smoothed(const std::vector<ChartPoint>& points, double reach) {
  const double factor = std::exp(-1 / reach);
  std::vector<FadingSum> before(points.size());  // of the values before each
  for (size_t i = 1; i < points.size(); ++i) {
    before[i] = before[i - 1];
    before[i].Add(points[i - 1].value);
    before[i].Fade(factor);
  }
  std::vector<ChartPoint> smoothed;
  FadingSum after;  // of the value itself and those after it
  for (size_t i = points.size(); i-- > 0;) {
    after.Fade(factor);
    after.Add(points[i].value);
    const double weights = before[i].weights + after.weights;
    if (weights < 1e-3) continue;
    smoothed.push_back({points[i].step, (before[i].values + after.values) / weights});
  }
  std::ranges::reverse(smoothed);
  return smoothed;
}

std::vector<ChartPoint> Thinned(const std::vector<ChartPoint>& points, int64_t most) {
  const int64_t count = std::ssize(points);
  if (count <= most) return points;
  const int64_t parts = (most - 2) / 2;
  std::vector<ChartPoint> kept = {points.front()};
  for (int64_t part = 0; part < parts; ++part) {
    const auto begin = points.begin() + 1 + (count - 2) * part / parts;
    const auto end = points.begin() + 1 + (count - 2) * (part + 1) / parts;
    // A part without any value that can be drawn keeps its place as a gap.
    auto least = end, greatest = end;
    for (auto i = begin; i != end; ++i) {
      if (!IsDrawnPoint(*i)) continue;
      if (least == end || i->value < least->value) least = i;
      if (greatest == end || i->value > greatest->value) greatest = i;
    }
    if (least == end) least = greatest = begin;
    kept.push_back(*std::min(least, greatest));
    if (least != greatest) kept.push_back(*std::max(least, greatest));
  }
  kept.push_back(points.back());
  return kept;
}

std::string ToHtml(const LineChart& chart) { return ChartDrawing(chart).ToHtml(); }

}  // namespace whipsnake::engine
