#include "engine/finetune/report/layer_map.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "engine/finetune/report/chart_axis.h"
#include "engine/finetune/report/html.h"
#include "engine/finetune/report/step_bins.h"

namespace whipsnake::engine {
namespace {

// Of all strips together, which bounds the page; a cell takes about 8 bytes.
constexpr int64_t kMostCells = 60'000;
constexpr int64_t kMapColumns = 300;

// Each shade has the parts of a bin up to its limit, in percent. Parts are small at high freezing
// rates, so that is where the limits are close, and not at those that rates often are.
constexpr int kShadeLimits[] = {3, 7, 15, 30, 60, 100};
constexpr int kShades = std::size(kShadeLimits);

// 0 if the layer did not train in any step of the bin, otherwise 1 to kShades.
int ShadeOf(int64_t active, int64_t steps) {
  if (active == 0) return 0;
  const auto limit = std::ranges::find_if(
      kShadeLimits, [&](int percent) { return 100 * active <= percent * steps; });
  return static_cast<int>(limit - std::begin(kShadeLimits)) + 1;
}

bool HasMap(const RunReport& report) {
  return !report.layers.empty() && !report.log.steps.empty() &&
         std::ranges::all_of(report.log.steps, [&](const StepRecord& step) {
           return step.active.size() == report.layers.size();
         });
}

StepBins BinsOf(const RunReport& report) {
  const int64_t columns =
      std::clamp<int64_t>(kMostCells / std::ssize(report.layers), 1, kMapColumns);
  return StepBins::Of(std::ssize(report.log.steps), columns);
}

// By layer, the shade in each bin.
std::vector<std::vector<int>> ShadesByLayer(const RunLog& log, const StepBins& bins,
                                            int64_t layers) {
  std::vector<std::vector<int>> shades(layers);
  for (int64_t bin = 0; bin < bins.count(); ++bin) {
    std::vector<int64_t> active_steps(layers, 0);
    for (int64_t i = bins.begin(bin); i < bins.end(bin); ++i) {
      const std::vector<bool>& active = log.steps[i].active;
      for (int64_t layer = 0; layer < layers; ++layer) active_steps[layer] += active[layer];
    }
    for (int64_t layer = 0; layer < layers; ++layer) {
      shades[layer].push_back(ShadeOf(active_steps[layer], bins.end(bin) - bins.begin(bin)));
    }
  }
  return shades;
}

// The cells of one shade, as strokes along the strip; neighbours are one stroke.
std::string ShadePath(const std::vector<int>& shades, int shade) {
  std::string path;
  const auto end = shades.end();
  for (auto i = shades.begin(); i != end;) {
    const auto begin = std::find(i, end, shade);
    if (begin == end) break;
    i = std::find_if(begin, end, [shade](int next) { return next != shade; });
    absl::StrAppend(&path, "M", begin - shades.begin(), " 0h", i - begin);
  }
  return path;
}

// The browser stretches the strip, in which a bin is 1 wide, to the cell of the table.
std::string Strip(const StepBins& bins, const std::vector<int>& shades) {
  std::string paths;
  for (int shade = 1; shade <= kShades; ++shade) {
    const std::string path = ShadePath(shades, shade);
    if (path.empty()) continue;
    absl::StrAppendFormat(&paths, "<path class=\"a%d\" d=\"%s\"/>", shade, path);
  }
  return absl::StrFormat(
      "<svg viewBox=\"0 -1 %g 2\" preserveAspectRatio=\"none\" aria-hidden=\"true\">%s</svg>",
      static_cast<double>(bins.steps) / static_cast<double>(bins.width), paths);
}

std::string StepLabels(int64_t steps) {
  const Axis axis = Axis::OfSteps(steps);
  std::string labels;
  for (const Axis::Tick& tick : axis.ticks()) {
    absl::StrAppendFormat(&labels, "<span style=\"left:%.4g%%\">%s</span>", 100 * tick.position,
                          tick.label);
  }
  return labels;
}

std::string LayerRow(std::string_view name, bool begins_block, std::string_view strip,
                     int64_t active_steps, int64_t steps) {
  return absl::StrCat(begins_block ? "<tr class=\"begins\">" : "<tr>", "<th scope=\"row\">",
                      Escaped(name), "</th>", Element("td", "strip", strip),
                      Element("td", "n", HumanCount(active_steps)),
                      Element("td", "n", Percent(active_steps, steps)), "</tr>\n");
}

std::string LayerRows(const RunReport& report, const StepBins& bins,
                      const std::vector<int64_t>& active_steps) {
  const std::vector<ScheduledLayer>& layers = report.layers;
  const auto shades = ShadesByLayer(report.log, bins, std::ssize(layers));
  std::string rows;
  for (size_t i = 0; i < layers.size(); ++i) {
    const bool begins_block = i > 0 && layers[i].block != layers[i - 1].block;
    rows +=
        LayerRow(layers[i].name, begins_block, Strip(bins, shades[i]), active_steps[i], bins.steps);
  }
  return rows;
}

std::string Head(const StepBins& bins) {
  return absl::StrCat("<tr><th>Layer</th><th class=\"strip\">",
                      Element("div", "steps", StepLabels(bins.steps)),
                      "</th><th class=\"n\">Steps</th><th class=\"n\">Share</th></tr>");
}

std::string Explanation(const StepBins& bins, int64_t layers, int64_t activations) {
  const std::string text =
      absl::StrFormat("Of %s layers, %.3g trained in a step, on average. ", HumanCount(layers),
                      static_cast<double>(activations) / static_cast<double>(bins.steps));
  if (bins.width == 1) {
    return Element("p", "soft", text + "A mark is a step in which the layer trained.");
  }
  std::string shades = "up to";
  for (int shade = 1; shade <= kShades; ++shade) {
    absl::StrAppendFormat(&shades, " <i class=\"key b%d\"></i>%d %%", shade,
                          kShadeLimits[shade - 1]);
  }
  return Element(
             "p", "soft",
             absl::StrCat(text, "A column is ", HumanCount(bins.width),
                          " steps; its shade is the part of them in which the layer trained:")) +
         Element("p", "soft", shades);
}

}  // namespace

std::string LayerSection(const RunReport& report) {
  if (!HasMap(report)) return "";
  const StepBins bins = BinsOf(report);
  const std::vector<int64_t> active_steps = report.active_steps();
  const int64_t activations = std::accumulate(active_steps.begin(), active_steps.end(), int64_t{0});
  return Section(
      "Layers that trained",
      absl::StrCat(Explanation(bins, std::ssize(report.layers), activations),
                   Element("table", "layers",
                           Element("thead", Head(bins)) +
                               Element("tbody", LayerRows(report, bins, active_steps)))));
}

}  // namespace whipsnake::engine
