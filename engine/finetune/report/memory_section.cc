#include "engine/finetune/report/memory_section.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "engine/finetune/report/html.h"
#include "engine/finetune/report/line_chart.h"
#include "engine/finetune/report/step_bins.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kChartColumns = 200;

// What the memory held at its highest, as one bar.
std::string PartsTable(const RunReport& report) {
  const TrainingMemory& memory = report.memory;
  struct Part {
    const char* css_class;
    const char* name;
    int64_t bytes;
  };
  const Part parts[] = {
      {"s1", "Activations and temporary matrices", report.activation_peak_bytes()},
      {"s2", "Parameters", memory.parameters},
      {"s3", "Moments of the optimizer", memory.moments},
      {"s4", "Gradients", memory.gradients}};
  int64_t total = 0;
  for (const Part& part : parts) total += part.bytes;
  std::string bars, rows;
  for (const Part& part : parts) {
    absl::StrAppendFormat(&bars, "<i class=\"%s\" style=\"flex-grow:%d\"></i>", part.css_class,
                          part.bytes);
    absl::StrAppendFormat(&rows, "<tr><th scope=\"row\"><i class=\"key %s\"></i>%s</th>%s%s</tr>\n",
                          part.css_class, part.name, Element("td", "n", HumanBytes(part.bytes)),
                          Element("td", "n", Percent(part.bytes, total)));
  }
  return Element("div", "stack", bars) + Element("table", Element("tbody", rows));
}

std::string_view PlainName(TensorClass tensor_class) {
  switch (tensor_class) {
    case TensorClass::kTransient:
      return "temporary matrices";
    case TensorClass::kBlockInput:
      return "inputs of blocks";
    case TensorClass::kNormInput:
      return "inputs of frozen norms";
    case TensorClass::kTrainingNormInput:
      return "inputs of norms that train";
    case TensorClass::kProductInput:
      return "inputs of products that train";
    case TensorClass::kInnerProductInput:
      return "inner inputs of products that train";
    case TensorClass::kAttention:
      return "queries, keys and values";
    case TensorClass::kAttentionOutput:
      return "outputs of attention";
    case TensorClass::kActivationInput:
      return "arguments of activation functions";
    case TensorClass::kConvolution:
      return "inputs of convolutions";
    case TensorClass::kScanParameters:
      return "parameters of scans";
    case TensorClass::kScan:
      return "inputs and states of scans";
    case TensorClass::kGradient:
      return "gradients of parameters";
  }
  return "";
}

// Bytes by bin of steps.
using Bytes = std::vector<int64_t>;

// A part of the memory, to be stacked on others.
struct StackedBytes {
  std::string name;
  std::string shade;  // of the style sheet
  Bytes bytes;
};

// The highest number of bytes in each bin.
template <typename BytesOf>
Bytes Highest(const RunLog& log, const StepBins& bins, const BytesOf& bytes_of) {
  Bytes highest;
  for (int64_t bin = 0; bin < bins.count(); ++bin) {
    int64_t& bytes = highest.emplace_back(0);
    for (int64_t i = bins.begin(bin); i < bins.end(bin); ++i) {
      bytes = std::max(bytes, bytes_of(log.steps[i]));
    }
  }
  return highest;
}

// What there was any of, from the bottom of the stack: what stays from step to step, gradients, and
// the other classes with the shortest-lived on top.
std::vector<StackedBytes> Stack(const RunReport& report, const StepBins& bins) {
  std::vector<StackedBytes> stack;
  const auto add = [&](std::string_view name, std::string shade, Bytes bytes) {
    const int64_t most = std::ranges::max(bytes);
    if (most == 0) return;
    stack.push_back(
        {absl::StrCat(ToAbsl(name), ", ", HumanBytes(most)), std::move(shade), std::move(bytes)});
  };
  add("parameters", "parameters", Bytes(bins.count(), report.memory.parameters));
  add("moments of the optimizer", "moments",
      Highest(report.log, bins, [](const StepRecord& step) { return step.moment_bytes; }));
  for (int i = kTensorClassCount - 1; i >= 0; --i) {
    add(PlainName(static_cast<TensorClass>(i)), absl::StrCat("c", i),
        Highest(report.log, bins, [i](const StepRecord& step) { return step.class_bytes[i]; }));
  }
  return stack;
}

struct ByteUnit {
  const char* name;
  double bytes;
};

ByteUnit UnitOf(int64_t bytes) {
  constexpr ByteUnit kUnits[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}};
  for (const ByteUnit& unit : kUnits) {
    if (static_cast<double>(bytes) >= unit.bytes) return unit;
  }
  return {"bytes", 1};
}

// Level over each bin.
std::vector<ChartPoint> Stairs(const StepBins& bins, const Bytes& bytes, double unit) {
  std::vector<ChartPoint> points;
  for (int64_t bin = 0; bin < bins.count(); ++bin) {
    const double value = static_cast<double>(bytes[bin]) / unit;
    const auto end = static_cast<double>(bins.end(bin));
    if (!points.empty() && points.back().value == value) {
      points.back().step = end;
      continue;
    }
    points.push_back({static_cast<double>(bins.begin(bin)), value});
    points.push_back({end, value});
  }
  return points;
}

void AddTo(Bytes& sum, const Bytes& bytes) {
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += bytes[i];
}

std::string MemoryChart(const RunReport& report) {
  const StepBins bins = StepBins::Of(std::ssize(report.log.steps), kChartColumns);
  const std::vector<StackedBytes> stack = Stack(report, bins);
  Bytes sum(bins.count(), 0);
  std::vector<Bytes> sums;
  for (const StackedBytes& part : stack) {
    AddTo(sum, part.bytes);
    sums.push_back(sum);
  }
  const ByteUnit unit = UnitOf(std::max(std::ranges::max(sum), report.planned_peak_bytes));
  LineChart chart{.title = "Memory by step",
                  .unit = unit.name,
                  .last_step = bins.steps,
                  .scale = Scale::kFromZero};
  // Each area reaches down to the axis, so that the lower ones are drawn over the higher ones.
  for (size_t i = stack.size(); i-- > 0;) {
    chart.series.push_back(
        {stack[i].name, Mark::kArea, Stairs(bins, sums[i], unit.bytes), stack[i].shade});
  }
  Bytes together = Highest(
      report.log, bins, [](const StepRecord& step) { return step.heap_bytes + step.moment_bytes; });
  AddTo(together, Bytes(bins.count(), report.memory.parameters));
  chart.series.push_back({"all at once", Mark::kEdge, Stairs(bins, together, unit.bytes)});
  if (report.planned_peak_bytes > 0) {
    const double planned = static_cast<double>(report.planned_peak_bytes) / unit.bytes;
    chart.series.push_back({"planned peak, " + HumanBytes(report.planned_peak_bytes),
                            Mark::kDashed,
                            {{0, planned}, {static_cast<double>(bins.steps), planned}}});
  }
  return ToHtml(chart);
}

// Whether the log has bytes by class.
bool HasChart(const RunLog& log) {
  return std::ranges::any_of(log.steps, [](const StepRecord& step) { return step.heap_bytes > 0; });
}

std::string PeakNote(const RunReport& report) {
  std::string note =
      absl::StrCat("At its highest, the program held ", HumanBytes(report.peak_bytes));
  if (report.planned_peak_bytes > 0) {
    absl::StrAppend(&note, "; ", HumanBytes(report.planned_peak_bytes), " were planned");
  }
  return Element("p", "note", note + ".");
}

}  // namespace

std::string MemorySection(const RunReport& report) {
  std::string content = PartsTable(report) + PeakNote(report);
  if (HasChart(report.log)) {
    absl::StrAppend(&content, "<div class=\"memory\">", MemoryChart(report), "</div>",
                    Element("p", "note",
                            "Each kind is drawn at its highest in a step. Not all are at their "
                            "highest at once, so the line is below their sum."));
  }
  return Section("Memory of training", content);
}

}  // namespace whipsnake::engine
