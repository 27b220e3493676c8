#include "engine/finetune/data/dataset_report.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

// The value at `fraction` of the sorted values, by nearest rank.
int64_t Percentile(const std::vector<int32_t>& sorted, double fraction) {
  const auto rank = static_cast<int64_t>(std::ceil(fraction * static_cast<double>(sorted.size())));
  return sorted[std::max<int64_t>(rank, 1) - 1];
}

std::string CountedRows(int64_t count) {
  return absl::StrCat(count, count == 1 ? " row" : " rows");
}

// The labels that no row has, as a warning.
void WarnOfAbsentLabels(const DatasetReport& report, std::vector<std::string>* warnings) {
  constexpr int64_t kListed = 20;
  std::string names;
  int64_t absent = 0;
  for (const LabelCount& label : report.labels) {
    if (label.rows > 0 || ++absent > kListed) continue;
    absl::StrAppend(&names, absent == 1 ? "" : ", ", Quoted(label.name));
  }
  if (absent > kListed) absl::StrAppend(&names, " and ", absent - kListed, " more");
  if (absent > 0) warnings->push_back(absl::StrCat("no row has the label ", names));
}

}  // namespace

LengthSummary Summarize(std::vector<int32_t>& lengths) {
  LengthSummary summary;
  if (lengths.empty()) return summary;
  std::ranges::sort(lengths);
  summary.shortest = lengths.front();
  summary.median = Percentile(lengths, 0.5);
  summary.percentile_95 = Percentile(lengths, 0.95);
  summary.longest = lengths.back();
  summary.histogram.resize(std::bit_width(static_cast<uint32_t>(lengths.back())));
  for (const int32_t length : lengths) {
    ++summary.histogram[std::bit_width(static_cast<uint32_t>(length)) - 1];
  }
  return summary;
}

absl::Status Check(const DatasetReport& report) {
  constexpr size_t kNamed = 3;
  if (report.rows() == 0) {
    return WithPath(absl::InvalidArgumentError("no rows seen, expected at least one"), report.path);
  }
  if (report.bad_rows == 0) return absl::OkStatus();
  std::string message = absl::StrCat("bad rows: ", report.bad_rows, " of ", report.rows());
  for (size_t i = 0; i < std::min(kNamed, report.first_bad_rows.size()); ++i) {
    const BadRow& row = report.first_bad_rows[i];
    absl::StrAppend(&message, "; line ", row.line, ": ", row.message);
  }
  return WithPath(absl::InvalidArgumentError(message), report.path);
}

std::vector<std::string> Warnings(const DatasetReport& report) {
  std::vector<std::string> warnings;
  WarnOfAbsentLabels(report, &warnings);
  if (report.contradicting.count > 0) {
    warnings.push_back(absl::StrCat(CountedRows(report.contradicting.count),
                                    " with the text of an earlier row but another label"));
  }
  if (report.equal_responses > 0) {
    warnings.push_back(absl::StrCat(CountedRows(report.equal_responses),
                                    " with equal chosen and rejected responses"));
  }
  return warnings;
}

}  // namespace whipsnake::engine
