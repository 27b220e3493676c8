// The report of a data set as text and as JSON.
#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/finetune/data/dataset_report.h"

namespace whipsnake::engine {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kMaxPathBytes = 4096;

// A space and a bar whose length is the count's share of the greatest; nothing for 0.
std::string Bar(int64_t count, int64_t greatest) {
  constexpr int64_t kWidth = 40;
  if (count == 0) return "";
  return absl::StrCat(" ", std::string((count * kWidth + greatest - 1) / greatest, '#'));
}

void AppendLengths(const LengthSummary& lengths, std::string* text) {
  absl::StrAppendFormat(text, "tokens per row: %d to %d, median %d, 95th percentile %d\n",
                        lengths.shortest, lengths.longest, lengths.median, lengths.percentile_95);
  if (lengths.histogram.empty()) return;
  const int64_t greatest = std::ranges::max(lengths.histogram);
  const auto shortest =
      static_cast<size_t>(std::bit_width(static_cast<uint64_t>(lengths.shortest)));
  for (size_t i = shortest - 1; i < lengths.histogram.size(); ++i) {
    const int64_t first = int64_t{1} << i;
    absl::StrAppendFormat(text, "  %8d-%-8d %9d%s\n", first, 2 * first - 1, lengths.histogram[i],
                          Bar(lengths.histogram[i], greatest));
  }
}

void AppendCut(const DatasetReport& report, std::string* text) {
  if (report.packed) {
    absl::StrAppendFormat(text, "texts are joined and cut into windows of %d tokens\n",
                          report.max_length);
    return;
  }
  const char* const what = HasText(report.task) ? "lose the end of their text"
                                                : "lose the beginning of the prompt and, if that "
                                                  "is not enough, the end of responses";
  absl::StrAppendFormat(text, "rows longer than %d tokens: %d; they %s\n", report.max_length,
                        report.cut_rows, what);
}

void AppendLabels(const DatasetReport& report, std::string* text) {
  if (report.values) {
    absl::StrAppendFormat(text, "labels: %g to %g, mean %g\n", report.values->least,
                          report.values->greatest, report.values->mean);
  }
  if (report.labels.empty()) return;
  absl::StrAppendFormat(text, "labels: %d\n", report.labels.size());
  for (const LabelCount& label : report.labels) {
    const double share = 100.0 * static_cast<double>(label.rows) /
                         static_cast<double>(std::max<int64_t>(report.good_rows, 1));
    absl::StrAppendFormat(text, "  %-24s %9d %5.1f%%\n", Quoted(label.name), label.rows, share);
  }
}

void AppendRepeated(std::string_view what, const RepeatedRows& rows, std::string* text) {
  if (rows.count == 0) return;
  absl::StrAppendFormat(text, "%s: %d (%s%s)\n", ToAbsl(what), rows.count,
                        absl::StrJoin(rows.first, ", ",
                                      [](std::string* out, const RepeatedRow& row) {
                                        absl::StrAppend(out, "line ", row.line, " as line ",
                                                        row.first_line);
                                      }),
                        std::cmp_less(rows.first.size(), rows.count) ? ", ..." : "");
}

std::string QuotedList(const std::vector<std::string>& names) {
  return absl::StrJoin(names, ", ", [](std::string* out, const std::string& name) {
    absl::StrAppend(out, Quoted(name));
  });
}

void AppendUnknownLabels(const DatasetReport& report, std::string* text) {
  if (report.unknown_labels.empty()) return;
  absl::StrAppend(text, "unknown labels:\n");
  for (const auto& [name, rows] : report.unknown_labels) {
    absl::StrAppendFormat(text, "  %-24s %9d\n", Quoted(name), rows);
  }
}

void AppendBadRows(const DatasetReport& report, std::string* text) {
  if (report.bad_rows == 0) return;
  absl::StrAppend(text, "bad rows:\n");
  for (const BadRow& row : report.first_bad_rows) {
    absl::StrAppendFormat(text, "  line %d: %s\n", row.line, row.message);
  }
  const int64_t more = report.bad_rows - std::ssize(report.first_bad_rows);
  if (more > 0) absl::StrAppendFormat(text, "  and %d more\n", more);
}

ordered_json JsonOf(const RepeatedRows& rows) {
  ordered_json first = ordered_json::array();
  for (const RepeatedRow& row : rows.first) {
    first.push_back({{"line", row.line}, {"first_line", row.first_line}});
  }
  return {{"count", rows.count}, {"first", first}};
}

ordered_json JsonOf(const LengthSummary& lengths) {
  return {{"shortest", lengths.shortest},
          {"median", lengths.median},
          {"percentile_95", lengths.percentile_95},
          {"longest", lengths.longest},
          {"histogram", lengths.histogram}};
}

ordered_json BadRowsOf(const DatasetReport& report) {
  ordered_json rows = ordered_json::array();
  for (const BadRow& row : report.first_bad_rows) {
    rows.push_back({{"line", row.line}, {"field", row.field}, {"message", row.message}});
  }
  return rows;
}

ordered_json LabelsOf(const DatasetReport& report) {
  ordered_json labels = ordered_json::array();
  for (const LabelCount& label : report.labels) {
    labels.push_back({{"name", label.name}, {"rows", label.rows}});
  }
  return labels;
}

}  // namespace

std::string ToText(const DatasetReport& report) {
  std::string text = absl::StrFormat(
      "%s: %s, %s, %d bytes, digest %s\nrows: %d good, %d bad\ntokens: %d\n", report.path,
      ToAbsl(Name(report.task)), ToAbsl(Name(report.format)), report.bytes, report.digest,
      report.good_rows, report.bad_rows, report.tokens);
  AppendLengths(report.lengths, &text);
  AppendCut(report, &text);
  AppendLabels(report, &text);
  AppendRepeated("rows with the text of an earlier row", report.repeated, &text);
  AppendRepeated("those with another label", report.contradicting, &text);
  if (!report.ignored_fields.empty()) {
    absl::StrAppend(&text, "ignored fields: ", QuotedList(report.ignored_fields), "\n");
  }
  for (const std::string& warning : Warnings(report)) {
    absl::StrAppend(&text, "warning: ", warning, "\n");
  }
  AppendUnknownLabels(report, &text);
  AppendBadRows(report, &text);
  return text;
}

ordered_json ToJson(const DatasetReport& report) {
  ordered_json json = {{"path", BoundedUtf8(report.path, kMaxPathBytes)},
                       {"task", Name(report.task)},
                       {"format", Name(report.format)},
                       {"bytes", report.bytes},
                       {"digest", report.digest},
                       {"rows", report.rows()},
                       {"good_rows", report.good_rows},
                       {"bad_rows", report.bad_rows},
                       {"first_bad_rows", BadRowsOf(report)},
                       {"tokens", report.tokens},
                       {"lengths", JsonOf(report.lengths)},
                       {"max_length", report.max_length},
                       {"packed", report.packed},
                       {"cut_rows", report.cut_rows},
                       {"empty_rows", report.empty_rows},
                       {"labels", LabelsOf(report)},
                       {"unknown_labels", report.unknown_labels},
                       {"equal_responses", report.equal_responses},
                       {"repeated", JsonOf(report.repeated)},
                       {"contradicting", JsonOf(report.contradicting)},
                       {"ignored_fields", report.ignored_fields},
                       {"warnings", Warnings(report)}};
  if (report.values) {
    json["values"] = {{"least", report.values->least},
                      {"mean", report.values->mean},
                      {"greatest", report.values->greatest}};
  }
  return json;
}

}  // namespace whipsnake::engine
