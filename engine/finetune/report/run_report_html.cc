// The report of a training run as a page.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "engine/finetune/report/html.h"
#include "engine/finetune/report/layer_map.h"
#include "engine/finetune/report/line_chart.h"
#include "engine/finetune/report/memory_section.h"
#include "engine/finetune/report/run_report.h"
#include "engine/finetune/report/run_report_style.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kListedEvaluations = 20;
constexpr int64_t kListedLabels = 20;
constexpr int64_t kListedTensors = 50;

// A row of a table of names and values; both are HTML.
std::string FactRow(std::string_view name, std::string_view value) {
  return absl::StrCat("<tr><th scope=\"row\">", ToAbsl(name), "</th>", Element("td", "n", value),
                      "</tr>\n");
}

// --- The first screen ---

std::string EndingText(const RunReport& report) {
  switch (report.ended) {
    case RunEnd::kFinished:
      return Element("b", "Finished") + " as planned.";
    case RunEnd::kStoppedEarly:
      return absl::StrCat(Element("b", "Stopped early"), ": ", report.options.patience,
                          " evaluations in a row had no lower loss.");
    case RunEnd::kCancelled:
      return absl::StrCat(Element("b", "Cancelled"), " after step ",
                          HumanCount(std::ssize(report.log.steps)), ".");
  }
  return "";
}

std::string BestText(const RunReport& report) {
  const EvaluationRecord* const best = report.best_evaluation();
  if (best == nullptr) return " There was no evaluation.";
  const std::string where =
      best->step == 0 ? "before training" : absl::StrCat("after step ", HumanCount(best->step));
  const char* const kept = report.ended == RunEnd::kCancelled ? "."
                           : best == report.final_evaluation()
                               ? "; the model has its parameters."
                               : "; the model has the parameters of the last step.";
  return absl::StrCat(" The evaluation ", where, " had the lowest loss", kept);
}

std::string Figure(std::string_view name, std::string_view value, std::string_view note = "") {
  return absl::StrCat("<div>", Element("dt", name),
                      Element("dd", absl::StrCat(ToAbsl(value), ToAbsl(Element("small", note)))),
                      "</div>\n");
}

std::string FiguresList(const RunReport& report) {
  std::string figures;
  if (const EvaluationRecord* const last = report.final_evaluation(); last != nullptr) {
    const std::string note = absl::StrCat("of ", HumanCount(last->targets), " targets");
    figures += Figure("Evaluation loss", HumanNumber(last->loss), note);
    if (report.options.task == Task::kCausalLm) {
      figures += Figure("Perplexity", HumanNumber(std::exp(last->loss)), "exp(loss)");
    }
    if (last->accuracy) figures += Figure("Accuracy", HumanNumber(*last->accuracy), note);
    if (last->margin) figures += Figure("Reward margin", HumanNumber(*last->margin), note);
  }
  figures += Figure("Speed", HumanMagnitude(report.tokens_per_second()), "tokens per second");
  figures += Figure("Step", HumanDuration(report.median_step_seconds()), "median");
  figures += Figure("Tokens", HumanMagnitude(static_cast<double>(report.tokens())), "trained on");
  figures += Figure("Memory", HumanBytes(report.peak_bytes), "at its highest");
  return Element("dl", "figures", figures);
}

std::string PageHeader(const RunReport& report) {
  return absl::StrCat(
      "<header>",
      Element("p", "top",
              absl::StrCat("Whipsnake", report.version.empty() ? "" : " ", Escaped(report.version),
                           " · training run of ", HumanTime(report.started))),
      Element("h1", absl::StrReplaceAll(Escaped(Sentence(report)), {{" → ", "\u00a0→\u00a0"}})),
      Element("p", "ended", EndingText(report) + BestText(report)), FiguresList(report),
      "</header>\n");
}

// --- Charts ---

int64_t LastStep(const RunLog& log) {
  const int64_t trained = log.steps.empty() ? 0 : log.steps.back().step;
  return std::max(trained, log.evaluations.empty() ? 0 : log.evaluations.back().step);
}

// Calls value(record) for each record; std::nullopt adds no point.
template <typename Record, typename Value>
std::vector<ChartPoint> StepPoints(const std::vector<Record>& records, const Value& value) {
  std::vector<ChartPoint> points;
  for (const Record& record : records) {
    const std::optional<double> number = value(record);
    if (number) points.push_back({static_cast<double>(record.step), *number});
  }
  return points;
}

// A chart of what both steps and evaluations measure; "" if none of them has it.
template <typename Value>
std::string ProgressChart(const RunLog& log, const char* title, Scale scale, const Value& value) {
  LineChart chart{.title = title, .last_step = LastStep(log), .scale = scale};
  std::vector<ChartPoint> steps = StepPoints(log.steps, value);
  std::vector<ChartPoint> evaluations = StepPoints(log.evaluations, value);
  if (!steps.empty()) AddSteps(std::move(steps), chart);
  if (!evaluations.empty()) {
    chart.series.push_back({"evaluation", Mark::kPoints, std::move(evaluations)});
  }
  return chart.series.empty() ? "" : ToHtml(chart);
}

std::string RateChart(const RunLog& log) {
  LineChart chart{.title = "Learning rate", .last_step = LastStep(log), .scale = Scale::kFromZero};
  chart.series = {{"", Mark::kLine, StepPoints(log.steps, [](const StepRecord& step) {
                     return std::optional(step.learning_rate);
                   })}};
  return ToHtml(chart);
}

// With a line at the largest norm that is not clipped, if any step had a larger one.
std::string NormChart(const RunLog& log, double limit) {
  std::vector<ChartPoint> norms =
      StepPoints(log.steps, [](const StepRecord& step) { return step.gradient_norm; });
  if (norms.empty()) return "";
  const auto last_step = LastStep(log);
  LineChart chart{.title = "Gradient norm", .last_step = last_step, .scale = Scale::kAny};
  const bool clipped = limit > 0 && std::ranges::any_of(norms, [limit](const ChartPoint& norm) {
                         return norm.value > limit;
                       });
  AddSteps(std::move(norms), chart);
  if (clipped) {
    chart.series.push_back({absl::StrCat("clipped above ", HumanNumber(limit)),
                            Mark::kDashed,
                            {{0, limit}, {static_cast<double>(last_step), limit}}});
  }
  return ToHtml(chart);
}

std::string SpeedChart(const RunLog& log) {
  LineChart chart{.title = "Speed",
                  .unit = "tokens per second",
                  .last_step = LastStep(log),
                  .scale = Scale::kFromZero};
  AddSteps(StepPoints(log.steps,
                      [](const StepRecord& step) {
                        return std::optional(static_cast<double>(step.tokens) / step.seconds);
                      }),
           chart);
  return ToHtml(chart);
}

std::string ChartGrid(const RunReport& report) {
  const RunLog& log = report.log;
  std::string charts = ProgressChart(log, "Loss", Scale::kAny,
                                     [](const auto& record) { return std::optional(record.loss); });
  charts += ProgressChart(log, "Accuracy", Scale::kLinear,
                          [](const auto& record) { return record.accuracy; });
  charts += ProgressChart(log, "Reward margin", Scale::kLinear,
                          [](const auto& record) { return record.margin; });
  if (!log.steps.empty()) {
    charts += RateChart(log);
    charts += NormChart(log, report.options.max_gradient_norm);
    charts += SpeedChart(log);
  }
  return charts.empty() ? "" : absl::StrCat("<div class=\"charts\">\n", charts, "</div>\n");
}

// --- Evaluations ---

// A column of the table; what no evaluation has gets none.
struct EvaluationColumn {
  const char* title;
  std::optional<std::string> (*text)(const EvaluationRecord& record);
};

// With so many decimals that the numbers of a column can be compared.
std::optional<std::string> Measured(const std::optional<double>& value) {
  if (!value) return std::nullopt;
  const double size = std::abs(*value);
  return size >= 1e-3 && size < 1e3 ? absl::StrFormat("%.4f", *value) : HumanNumber(*value);
}

std::vector<EvaluationColumn> EvaluationColumns(const std::vector<EvaluationRecord>& evaluations) {
  using Record = EvaluationRecord;
  std::vector<EvaluationColumn> columns = {
      {"Step", [](const Record& r) { return std::optional(HumanCount(r.step)); }},
      {"Loss", [](const Record& r) { return Measured(r.loss); }},
      {"Accuracy", [](const Record& r) { return Measured(r.accuracy); }},
      {"Reward margin", [](const Record& r) { return Measured(r.margin); }},
      {"Targets", [](const Record& r) { return std::optional(HumanCount(r.targets)); }},
      {"Time", [](const Record& r) { return std::optional(HumanDuration(r.seconds)); }}};
  std::erase_if(columns, [&evaluations](const EvaluationColumn& column) {
    return std::ranges::none_of(
        evaluations, [&](const Record& record) { return column.text(record).has_value(); });
  });
  return columns;
}

// The first, the best, the last and evenly spaced ones of many.
std::string EvaluationsSection(const RunReport& report) {
  const std::vector<EvaluationRecord>& all = report.log.evaluations;
  if (all.empty()) return "";
  const std::vector<EvaluationColumn> columns = EvaluationColumns(all);
  const EvaluationRecord* const best = report.best_evaluation();
  const int64_t count = std::ssize(all);
  const int64_t stride = (count + kListedEvaluations - 1) / kListedEvaluations;
  std::string head, rows;
  for (const EvaluationColumn& column : columns) head += Element("th", column.title);
  for (int64_t i = 0; i < count; ++i) {
    if (i % stride != 0 && &all[i] != best && i != count - 1) continue;
    std::string cells;
    for (const EvaluationColumn& column : columns) {
      cells += Element("td", column.text(all[i]).value_or("–"));
    }
    rows += &all[i] == best ? Element("tr", "best", cells) : Element("tr", cells);
  }
  std::string table = Element("table", "evaluations",
                              Element("thead", Element("tr", head)) + Element("tbody", rows));
  if (stride > 1) {
    table += Element("p", "note",
                     absl::StrCat("Of ", HumanCount(count), " evaluations, every ", stride,
                                  "th, the best and the last."));
  }
  return Section("Evaluations", table);
}

// --- Data ---

// A table of counts with bars in proportion to the largest.
std::string Counts(std::string_view title, const std::vector<LabelCount>& counts) {
  int64_t total = 0, largest = 1;
  for (const LabelCount& count : counts) {
    total += count.rows;
    largest = std::max(largest, count.rows);
  }
  std::string rows;
  for (const LabelCount& count : counts) {
    absl::StrAppendFormat(
        &rows,
        "<tr><th scope=\"row\">%s</th><td class=\"bar\"><i style=\"width:%.4g%%\"></i></td>%s%s"
        "</tr>\n",
        Escaped(count.name), 100.0 * static_cast<double>(count.rows) / static_cast<double>(largest),
        Element("td", "n", HumanCount(count.rows)), Element("td", "n", Percent(count.rows, total)));
  }
  return Element("table", "counts", Element("caption", title) + Element("tbody", rows));
}

std::string LengthCounts(const LengthSummary& lengths) {
  std::vector<LabelCount> counts;
  for (size_t i = 0; i < lengths.histogram.size(); ++i) {
    const int64_t first = int64_t{1} << i;
    if (counts.empty() && lengths.histogram[i] == 0) continue;
    counts.push_back(
        {i == 0 ? "1" : absl::StrCat(HumanCount(first), "–", HumanCount(2 * first - 1)),
         lengths.histogram[i]});
  }
  return counts.empty() ? "" : Counts("Tokens per row", counts);
}

std::string LabelCounts(std::vector<LabelCount> labels) {
  if (labels.empty()) return "";
  const int64_t more = std::ssize(labels) - kListedLabels;
  std::ranges::stable_sort(labels, std::greater<>(), &LabelCount::rows);
  if (more > 0) {
    LabelCount rest{absl::StrCat(HumanCount(more), " more")};
    for (int64_t i = kListedLabels; i < std::ssize(labels); ++i) rest.rows += labels[i].rows;
    labels.resize(kListedLabels);
    labels.push_back(rest);
  }
  return Counts("Labels", labels);
}

std::string DataPanel(std::string_view title, const DatasetReport& data) {
  std::string facts = FactRow("Rows", HumanCount(data.good_rows));
  if (data.bad_rows > 0) facts += FactRow("Bad rows", HumanCount(data.bad_rows));
  facts += FactRow("Tokens", HumanCount(data.tokens));
  facts += FactRow("Median length", HumanCount(data.lengths.median));
  facts += FactRow("Longest row", HumanCount(data.lengths.longest));
  facts += FactRow(data.packed ? "Packed into windows of" : "Cut after",
                   HumanCount(data.max_length) + " tokens");
  if (data.cut_rows > 0) facts += FactRow("Rows cut", HumanCount(data.cut_rows));
  if (data.repeated.count > 0) facts += FactRow("Repeated rows", HumanCount(data.repeated.count));
  if (data.values) {
    facts += FactRow("Values", absl::StrCat(HumanNumber(data.values->least), " to ",
                                            HumanNumber(data.values->greatest), ", mean ",
                                            HumanNumber(data.values->mean)));
  }
  facts += FactRow("Size", HumanBytes(data.bytes));
  facts += FactRow("Digest", Element("code", Escaped(data.digest.substr(0, 16))));
  std::string warnings;
  for (const std::string& warning : Warnings(data)) {
    warnings += Element("p", "warning", Escaped(warning));
  }
  return absl::StrCat("<div>", Element("h3", title),
                      Element("p", "soft", Element("code", Escaped(data.path))),
                      Element("table", "facts", Element("tbody", facts)), warnings,
                      LengthCounts(data.lengths), LabelCounts(data.labels), "</div>\n");
}

std::string DataSection(const RunReport& report) {
  std::string panels = DataPanel("Training", report.training_data);
  if (report.evaluation_data) panels += DataPanel("Evaluation", *report.evaluation_data);
  return Section("Data", Element("div", "columns", panels));
}

// --- Settings and model ---

std::string Setting(std::string_view name, std::string_view value) {
  return absl::StrCat("<div>", Element("dt", name), Element("dd", value), "</div>\n");
}

std::string SettingValue(const nlohmann::json& value) {
  if (value.is_string()) return Escaped(value.get<std::string>());
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_float()) return HumanNumber(value.get<double>());
  if (value.is_array() && value.empty()) return "none";
  return Escaped(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::string SettingsSection(const RunReport& report) {
  std::string settings;
  const nlohmann::json options = ToJson(report.options);
  for (const auto& [key, value] : options.items()) {
    settings += Setting(absl::StrReplaceAll(key, {{"_", " "}}), SettingValue(value));
  }
  return Section("Settings", Element("dl", "settings", settings));
}

std::string Tensors(std::string_view what, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  std::string list;
  const int64_t listed = std::min(std::ssize(names), kListedTensors);
  for (int64_t i = 0; i < listed; ++i) {
    absl::StrAppend(&list, i == 0 ? "" : ", ", Element("code", Escaped(names[i])));
  }
  const int64_t more = std::ssize(names) - listed;
  if (more > 0) absl::StrAppend(&list, " and ", HumanCount(more), " more");
  return Element("p", "names", absl::StrCat(ToAbsl(what), ": ", list));
}

std::string ModelSection(const RunReport& report) {
  const bool bf16 = report.options.arithmetic == kernels::DType::kBF16;
  const std::string facts = absl::StrCat(
      Setting("directory", Escaped(report.model)), Setting("family", Escaped(report.family)),
      Setting("trained parameters", HumanCount(report.parameters)),
      Setting("arithmetic of products", bf16 ? "bf16" : "fp32"));
  return Section("Model",
                 absl::StrCat(Element("dl", "settings", facts),
                              Tensors("Drawn at random, not in the checkpoint", report.fresh),
                              Tensors("In the checkpoint, not used", report.dropped)));
}

}  // namespace

std::string ToHtml(const RunReport& report) {
  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n",
      Element("title", Escaped(Sentence(report))), "\n", Element("style", RunReportStyle()),
      "\n</head>\n<body>\n", PageHeader(report),
      Element("main", absl::StrCat(ChartGrid(report), EvaluationsSection(report),
                                   LayerSection(report), MemorySection(report), DataSection(report),
                                   SettingsSection(report), ModelSection(report))),
      "</body>\n</html>\n");
}

}  // namespace whipsnake::engine
