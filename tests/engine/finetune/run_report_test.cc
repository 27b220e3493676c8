// Set WHIPSNAKE_SAMPLE_REPORTS to a directory to have the sample pages written there.
#include "engine/finetune/report/run_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>

#include "engine/finetune/report/html.h"
#include "tests/engine/base/support.h"
#include "tests/engine/finetune/run_report_samples.h"

namespace whipsnake::engine {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Returns what is wrong with a page as XML, or "": tags must nest and attributes be quoted.
std::string XmlFault(const std::string& page) {
  static const std::regex kTag(
      R"(^(</?)([a-zA-Z][a-zA-Z0-9]*)((?:\s+[a-zA-Z-]+="[^"<]*")*)\s*(/?)>)");
  static const std::regex kEntity("^&(amp|lt|gt|quot|#39);");
  std::vector<std::string> open;
  for (size_t i = page.find("<html"); i < page.size(); ++i) {
    std::match_results<std::string::const_iterator> match;
    const auto rest = page.begin() + static_cast<std::ptrdiff_t>(i);
    const auto end = page.begin() + static_cast<std::ptrdiff_t>(std::min(i + 500, page.size()));
    if (page[i] == '&' && !std::regex_search(rest, end, match, kEntity)) {
      return "entity at " + page.substr(i, 40);
    }
    if (page[i] != '<') continue;
    const size_t close = page.find('>', i);
    if (close == page.npos) return "unclosed tag at " + page.substr(i, 40);
    // Regular expressions are slow on long attributes, which are paths of digits and letters.
    std::string tag = page.substr(i, close + 1 - i);
    if (const size_t path = tag.find(" d=\""); path != tag.npos) {
      tag.erase(path, tag.find('"', path + 4) + 1 - path);
    }
    std::smatch parts;
    if (!std::regex_search(tag, parts, kTag)) return "tag at " + tag.substr(0, 80);
    if (parts[1] == "<" && parts[4] == "") {
      open.push_back(parts[2]);
    } else if (parts[1] == "</") {
      if (open.empty() || open.back() != parts[2]) return "unexpected " + tag;
      open.pop_back();
    }
  }
  return open.empty() ? "" : "unclosed " + open.back();
}

// Checks what holds for every page, and writes it for a look.
std::string Page(const std::string& name, const RunReport& report) {
  std::string page = ToHtml(report);
  EXPECT_EQ(XmlFault(page), "") << name;
  EXPECT_LT(page.size(), 1'000'000) << name;
  for (const char* const reference : {"http:", "https:", "url(", "@import", "<script", "src="}) {
    EXPECT_THAT(page, Not(HasSubstr(reference))) << name;
  }
  for (const char* const number : {">nan", ">inf", "%nan", ":nan", "-nan", " nan", "Mnan"}) {
    EXPECT_THAT(page, Not(HasSubstr(number))) << name;
  }
  if (const char* const directory = std::getenv("WHIPSNAKE_SAMPLE_REPORTS")) {
    WriteBytes(std::filesystem::path(directory) / (name + ".html"), page);
  }
  return page;
}

RunReport SamplePreferences() {
  RunReport report = SampleReport(120, 20);
  report.options.task = Task::kDpo;
  report.training_data.labels.clear();
  report.evaluation_data.reset();
  report.ended = RunEnd::kStoppedEarly;
  report.options.patience = 3;
  for (StepRecord& step : report.log.steps) step.margin = 2 - 1.5 * step.loss;
  for (EvaluationRecord& record : report.log.evaluations) record.margin = 2 - 1.5 * record.loss;
  return report;
}

TEST(RunReport, SaysWhatHappenedInOneSentence) {
  RunReport report = SampleReport(1605, 535);
  report.seconds = 252;
  report.log.evaluations[0].accuracy = 0.71;
  report.log.evaluations[3].accuracy = 0.83;
  report.log.evaluations[3].loss = 0.1;
  EXPECT_EQ(Sentence(report),
            "gpt2-crrelu-demo, 4.61 M parameters, classification on gloss-pos: accuracy 0.71 → "
            "0.83 in 1,605 steps, 4 min 12 s");
  report.options.task = Task::kCausalLm;
  EXPECT_THAT(Sentence(report), HasSubstr("causal-lm on gloss-pos: evaluation loss 1.3 → 0.1"));
  report.log.evaluations.clear();
  EXPECT_THAT(Sentence(report), HasSubstr(": training loss "));
  report.log.steps.clear();
  report.training_data.path = "texts.jsonl";
  EXPECT_THAT(Sentence(report), HasSubstr(" on texts: no result in 0 steps"));
}

TEST(RunReport, JsonHasTheKeysThatProgramsRead) {
  RunReport report = SampleReport(30, 10);
  report.log.evaluations[2].loss = 0.1;
  report.log.evaluations[2].accuracy = 0.9;
  report.options.patience = 2;
  for (StepRecord& step : report.log.steps) {
    step.seconds = static_cast<double>(step.step);
    step.tokens = 31;
  }
  const nlohmann::ordered_json json = ToJson(report);
  EXPECT_EQ(json["steps"], 30);
  EXPECT_EQ(json["eval_loss"], 0.1);
  EXPECT_EQ(json["eval_accuracy"], 0.9);
  EXPECT_FALSE(json.contains("eval_margin"));
  EXPECT_EQ(json["step_seconds_p50"], 16);
  EXPECT_EQ(json["tokens_per_second"], 2);
  EXPECT_EQ(json["peak_bytes"], 251 << 20);
  EXPECT_EQ(json["planned_peak_bytes"], 262 << 20);
  EXPECT_EQ(json["activation_peak_bytes"], 172 << 20);
  EXPECT_EQ(json["ended"], "finished");
  EXPECT_EQ(json["options"], nlohmann::ordered_json(ToJson(report.options)));
  EXPECT_EQ(json["model"]["fresh"][0], "score.weight");
  EXPECT_EQ(json["data"]["training"]["good_rows"], 8560);
  EXPECT_EQ(json["data"]["evaluation"]["good_rows"], 1000);
  EXPECT_EQ(json["log"]["steps"].size(), 30);
  EXPECT_TRUE(ParseRunLog(nlohmann::json::parse(json["log"].dump())).ok());
}

// Four steps of three layers, of which the last is of no block and trains in every step.
RunReport FreezingRun() {
  RunReport report = SampleReport(4, 0);
  report.layers = {
      {.name = "h.0.a", .block = 0}, {.name = "h.0.<b>", .block = 0}, {.name = "head"}};
  const std::vector<bool> active[] = {
      {true, false, true}, {true, false, true}, {false, false, true}, {true, false, true}};
  for (int i = 0; i < 4; ++i) report.log.steps[i].active = active[i];
  return report;
}

TEST(RunReport, JsonHasLayersAndClasses) {
  RunReport report = FreezingRun();
  report.memory.classes[static_cast<int>(TensorClass::kScan)] = 77;
  nlohmann::ordered_json json = ToJson(report);
  EXPECT_EQ(json["layers"].dump(), R"([{"name":"h.0.a","block":0,"active_steps":3},)"
                                   R"({"name":"h.0.<b>","block":0,"active_steps":0},)"
                                   R"({"name":"head","active_steps":4}])");
  EXPECT_EQ(json["memory"]["classes"].dump(), R"({"scan":77})");
  for (StepRecord& step : report.log.steps) step.active.clear();
  json = ToJson(report);
  for (const auto& layer : json["layers"]) EXPECT_EQ(layer["active_steps"], 4);
}

TEST(RunReport, PageMarksTheStepsInWhichALayerTrained) {
  RunReport report = FreezingRun();
  const std::string page = Page("freezing-four-steps", report);
  EXPECT_THAT(page, HasSubstr("Of 3 layers, 1.75 trained in a step, on average. A mark is"));
  const auto row = [](const std::string& name, const std::string& paths,
                      const std::string& counts) {
    return "<th scope=\"row\">" + name +
           "</th><td class=\"strip\"><svg viewBox=\"0 -1 4 2\" preserveAspectRatio=\"none\" "
           "aria-hidden=\"true\">" +
           paths + "</svg></td><td class=\"n\">" + counts;
  };
  EXPECT_THAT(page, HasSubstr(row("h.0.a", "<path class=\"a6\" d=\"M0 0h2M3 0h1\"/>",
                                  "3</td><td class=\"n\">75.0 %")));
  EXPECT_THAT(page, HasSubstr(row("h.0.&lt;b&gt;", "", "0</td><td class=\"n\">0.0 %")));
  EXPECT_THAT(page,
              HasSubstr("<tr class=\"begins\">" + row("head", "<path class=\"a6\" d=\"M0 0h4\"/>",
                                                      "4</td><td class=\"n\">100.0 %")));
  EXPECT_THAT(page, Not(HasSubstr("Memory by step"))) << "without bytes";
  report.log.steps[2].active.pop_back();
  EXPECT_THAT(ToHtml(report), Not(HasSubstr("Layers that trained")));
}

TEST(RunReport, PageShadesBinsOfLongRuns) {
  RunReport report = SampleReport(3000, 0);  // bins of 10
  report.layers = {{.name = "some"}, {.name = "all"}};
  // The first three bins have 0, 1 and 7 steps in which the first layer trained.
  for (StepRecord& step : report.log.steps) {
    step.active = {step.step == 20 || (step.step > 20 && step.step <= 27), true};
  }
  const std::string page = Page("shades", report);
  EXPECT_THAT(page, HasSubstr("A column is 10 steps; its shade is the part of them"));
  EXPECT_THAT(page, HasSubstr("<path class=\"a3\" d=\"M1 0h1\"/><path class=\"a6\" d=\"M2 0h1\"/>"
                              "</svg></td><td class=\"n\">8</td>"));
  EXPECT_THAT(page, HasSubstr("<path class=\"a6\" d=\"M0 0h300\"/></svg>"));
}

TEST(RunReport, PageOfRunsWithFrozenLayers) {
  RunReport report = SampleReport(300, 50);
  AddFreezing(75, report);
  const std::string page = Page("freezing", report);
  for (const char* const text :
       {"transformer.h.11.mlp.c_fc", "Memory by step", "planned peak, 262.0 MiB",
        "queries, keys and values, 24.0 MiB", "gradients of parameters, ", "all at once"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
  EXPECT_THAT(page, Not(HasSubstr("inputs of convolutions")));
  report.planned_peak_bytes = 0;
  EXPECT_THAT(ToHtml(report), Not(HasSubstr("planned peak")));
  report = SampleReport(1, 1);
  AddFreezing(75, report);
  Page("freezing-one-step", report);
  report = SampleReport(100'000, 1000);
  AddFreezing(400, report);
  Page("freezing-long", report);
}

// Only with a patience are the parameters those of the best evaluation.
TEST(RunReport, ResultsAreThoseOfTheParametersAtTheEnd) {
  RunReport report = SampleReport(30, 10);
  for (double loss = 3; EvaluationRecord & record : report.log.evaluations) record.loss = ++loss;
  report.log.evaluations[1].loss = 1;
  EXPECT_EQ(ToJson(report)["eval_loss"], 7);
  EXPECT_EQ(ToJson(report)["best_evaluation"]["loss"], 1);
  EXPECT_THAT(ToHtml(report),
              HasSubstr("The evaluation after step 10 had the lowest loss; the model "
                        "has the parameters of the last step."));
  report.options.patience = 2;
  EXPECT_EQ(ToJson(report)["eval_loss"], 1);
  EXPECT_THAT(ToHtml(report), HasSubstr("the lowest loss; the model has its parameters."));
}

TEST(RunReport, JsonWithoutEvaluations) {
  RunReport report;
  const nlohmann::ordered_json json = ToJson(report);
  EXPECT_FALSE(json.contains("eval_loss"));
  EXPECT_FALSE(json["data"].contains("evaluation"));
  EXPECT_EQ(json["step_seconds_p50"], 0);
  EXPECT_EQ(json["tokens_per_second"], 0);
  report.model = report.version = "\xff\xfe";
  EXPECT_NE(ToJson(report).dump(), "");
}

TEST(RunReport, PageHasChartsAndTables) {
  const std::string page = Page("sample", SampleReport(300, 30));
  for (const char* const text :
       {"Loss", "Accuracy", "Learning rate", "Gradient norm", "Speed", "clipped above",
        "Evaluations", "score.weight", "lm_head.weight", "noun", "32–63", "cosine"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
  EXPECT_THAT(page, Not(HasSubstr("Reward margin")));
  const std::string preferences = Page("preferences", SamplePreferences());
  EXPECT_THAT(preferences, HasSubstr("Reward margin"));
  EXPECT_THAT(preferences, HasSubstr("3 evaluations in a row had no lower loss"));
}

TEST(RunReport, PageOfALanguageModel) {
  RunReport report = SampleReport(60, 20);
  report.options.task = Task::kCausalLm;
  report.ended = RunEnd::kCancelled;
  report.log.evaluations.back().loss = 0;
  const std::string page = Page("language-model", report);
  EXPECT_THAT(page, HasSubstr("<dt>Perplexity</dt><dd>1<"));
  EXPECT_THAT(page, HasSubstr("<b>Cancelled</b> after step 60."));
}

TEST(RunReport, PageOfVeryShortRuns) {
  Page("empty", RunReport());
  Page("no-steps", SampleReport(0, 1));
  Page("one-step", SampleReport(1, 1));
  RunReport report = SampleReport(1, 0);
  report.log.evaluations.clear();
  EXPECT_THAT(Page("one-step-only", report), HasSubstr("There was no evaluation."));
}

TEST(RunReport, PageOfALongRunIsSmall) { Page("long", SampleReport(1'000'000, 100)); }

TEST(RunReport, PageOfStrangeNumbers) {
  RunReport report = SampleReport(100, 10);
  for (StepRecord& step : report.log.steps) {
    step.loss = step.step % 7 == 0 ? kNan : std::pow(10, static_cast<double>(step.step - 50));
    step.accuracy = 0.5;
    step.gradient_norm = step.step % 2 == 0 ? kInfinity : 1e300;
    step.learning_rate = 0;
    step.seconds = 0;
  }
  report.log.evaluations[1].loss = kNan;
  report.log.evaluations[2].accuracy = kInfinity;
  report.seconds = kInfinity;
  const std::string page = Page("strange", report);
  EXPECT_THAT(page, HasSubstr("15 values are not finite and not drawn."));
}

TEST(RunReport, PageEscapesForeignText) {
  RunReport report = SampleReport(10, 5);
  const std::string evil = "<b onclick='x'>&\"\x01\xff";
  report.version = report.model = report.family = evil;
  report.fresh = report.dropped = {evil};
  report.training_data.path = "data/" + evil;
  report.training_data.digest = evil;
  report.training_data.labels = {{evil, 0}};
  report.options.optimizer.groups.emplace_back().pattern = evil;
  const std::string page = Page("escapes", report);
  EXPECT_THAT(page, Not(HasSubstr("<b onclick")));
  EXPECT_THAT(page, Not(HasSubstr("\x01")));
  EXPECT_THAT(page, HasSubstr("&lt;b onclick=&#39;x&#39;&gt;&amp;&quot;\uFFFD\uFFFD"));
}

TEST(RunReport, PageOfManyLabelsAndTensors) {
  RunReport report = SampleReport(300, 1);
  report.training_data.labels.clear();
  for (int i = 0; i < 5000; ++i) {
    report.training_data.labels.push_back({"label" + std::to_string(i), i});
    report.fresh.push_back("tensor" + std::to_string(i));
  }
  const std::string page = Page("many", report);
  EXPECT_THAT(page, HasSubstr("4,980 more"));
  EXPECT_THAT(page, HasSubstr("and 4,951 more"));
  EXPECT_THAT(page, HasSubstr("Of 301 evaluations, every 16th, the best and the last."));
}

TEST(Html, EscapesAndCuts) {
  EXPECT_EQ(Escaped("a<b>&\"'\x7f\n"), "a&lt;b&gt;&amp;&quot;&#39;\uFFFD\n");
  EXPECT_EQ(Escaped(std::string(5000, 'x')).size(), 1000);
}

}  // namespace
}  // namespace whipsnake::engine
