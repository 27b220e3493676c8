// What the metrics are, in two files: tests/goldens/metrics.txt pins names, types, labels and
// buckets, on which users' dashboards and alerts depend; docs/metrics.md explains them. A renamed
// metric keeps its old name beside the new one for two releases.
//
// After a change that is meant, WHIPSNAKE_UPDATE=1 in the environment of this test writes both.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/metrics/metrics.h"

namespace whipsnake::server {
namespace {

constexpr char kGolden[] = "tests/goldens/metrics.txt";
constexpr char kReference[] = "docs/metrics.md";
// The generated part of the reference.
constexpr char kBegin[] = "<!-- generated: see tests/server/metrics_reference_test.cc -->\n";
constexpr char kEnd[] = "<!-- end of the generated part -->\n";

std::string TypeName(prometheus::MetricType type) {
  switch (type) {
    case prometheus::MetricType::Counter:
      return "counter";
    case prometheus::MetricType::Histogram:
      return "histogram";
    default:
      return "gauge";
  }
}

std::string Labels(const MetricDescription& description) {
  std::vector<std::string> labels;
  for (const LabelDescription& label : description.labels) {
    labels.push_back(label.values.empty()
                         ? label.name
                         : absl::StrCat(label.name, "=", absl::StrJoin(label.values, "|")));
  }
  return absl::StrCat("{", absl::StrJoin(labels, ","), "}");
}

std::string Golden(const MetricsRegistry& registry) {
  std::string text;
  for (const auto& family : registry.families()) {
    absl::StrAppend(&text, family->description().name, " ", TypeName(family->type()), " ",
                    Labels(family->description()));
    if (!family->bounds().empty()) {
      absl::StrAppend(&text, " le=", absl::StrJoin(family->bounds(), ","), ",+Inf");
    }
    text += "\n";
  }
  return text;
}

std::string ListOfValues(const LabelDescription& label) {
  std::vector<std::string> quoted;
  for (const std::string& value : label.values) quoted.push_back("`" + value + "`");
  return quoted.empty() ? label.meaning : absl::StrJoin(quoted, ", ");
}

std::string Section(const AnyFamily& family) {
  const MetricDescription& description = family.description();
  std::string text = absl::StrCat("\n### `", description.name, "`\n\n", description.help, "\n\n- ",
                                  TypeName(family.type()), ", unit: ", description.unit, "\n");
  for (const LabelDescription& label : description.labels) {
    absl::StrAppend(&text, "- label `", label.name, "`: ", ListOfValues(label), "\n");
  }
  if (!family.bounds().empty()) {
    absl::StrAppend(&text, "- buckets up to ", absl::StrJoin(family.bounds(), ", "), "\n");
  }
  if (!description.example.empty()) {
    absl::StrAppend(&text, "\n```promql\n", description.example, "\n```\n");
  }
  return text;
}

std::string Reference(const MetricsRegistry& registry) {
  std::string text, group;
  for (const auto& family : registry.families()) {
    if (family->group() != group) absl::StrAppend(&text, "\n## ", family->group(), "\n");
    group = family->group();
    text += Section(*family);
  }
  return text + "\n";
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Compares a file with the text that it should have, or writes it.
void ExpectFile(const std::string& path, const std::string& expected) {
  if (std::getenv("WHIPSNAKE_UPDATE") != nullptr) std::ofstream(path) << expected;
  EXPECT_EQ(ReadFile(path), expected)
      << path << " is not what the metrics are now; WHIPSNAKE_UPDATE=1 makes this test write it";
}

TEST(MetricsReferenceTest, NamesTypesLabelsAndBucketsAreThese) {
  ExpectFile(kGolden, Golden(Metrics().registry));
}

TEST(MetricsReferenceTest, ThePageOfTheDocumentsIsThis) {
  const std::string page = ReadFile(kReference);
  const size_t begin = page.find(kBegin), end = page.find(kEnd);
  ASSERT_TRUE(begin != std::string::npos && end != std::string::npos) << kReference;
  ExpectFile(kReference, absl::StrCat(page.substr(0, begin), kBegin, Reference(Metrics().registry),
                                      page.substr(end)));
}

TEST(MetricsReferenceTest, EveryMetricIsDescribed) {
  std::set<std::string> names;
  const Metrics metrics;
  for (const auto& family : metrics.registry.families()) {
    const MetricDescription& description = family->description();
    SCOPED_TRACE(description.name);
    EXPECT_TRUE(names.insert(description.name).second);
    EXPECT_GT(description.help.size(), 10);
    EXPECT_EQ(description.help.back(), '.');
    EXPECT_NE(description.unit, "");
    EXPECT_NE(family->group(), "");
    const bool is_counter = family->type() == prometheus::MetricType::Counter;
    EXPECT_EQ(description.name.ends_with("_total"), is_counter);
    for (const LabelDescription& label : description.labels) {
      EXPECT_NE(label.values.empty(), label.meaning.empty()) << label.name;
    }
  }
}

}  // namespace
}  // namespace whipsnake::server
