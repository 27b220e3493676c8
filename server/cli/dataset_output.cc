#include "server/cli/dataset_output.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/human.h"
#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

using google::protobuf::util::TimeUtil;

constexpr int kListedLabels = 20;

// "READY"
std::string StateName(v1::DatasetState state) {
  constexpr std::string_view kPrefix = "DATASET_STATE_";
  return v1::DatasetState_Name(state).substr(kPrefix.size());
}

Json ReportJson(const v1::DatasetReport& report) {
  Json json = {{"good_rows", report.good_rows()},
               {"bad_rows", report.bad_rows()},
               {"first_bad_rows", Json::array()},
               {"repeated_rows", report.repeated_rows()},
               {"contradicting_rows", report.contradicting_rows()},
               {"warnings", report.warnings()}};
  for (const v1::BadRow& row : report.first_bad_rows()) {
    json["first_bad_rows"].push_back(
        {{"line", row.line()}, {"field", row.field()}, {"message", row.message()}});
  }
  if (report.labels() > 0) {
    json["labels"] = report.labels();
    for (const v1::LabelCount& label : report.label_counts()) {
      json["label_counts"].push_back({{"name", label.name()}, {"rows", label.rows()}});
    }
  }
  if (report.has_lengths()) {
    const v1::TokenLengths& lengths = report.lengths();
    json["tokens"] = report.tokens();
    json["max_length"] = report.max_length();
    json["cut_rows"] = report.cut_rows();
    json["lengths"] = {{"shortest", lengths.shortest()},
                       {"median", lengths.median()},
                       {"percentile_95", lengths.percentile_95()},
                       {"longest", lengths.longest()},
                       {"histogram", lengths.histogram()}};
  }
  return json;
}

// A space and a bar whose length is the count's share of the greatest; nothing for 0.
std::string SmallBar(int64_t count, int64_t greatest) {
  constexpr int64_t kWidth = 30;
  if (count == 0) return "";
  return absl::StrCat(" ", std::string((count * kWidth + greatest - 1) / greatest, '#'));
}

void AppendLengths(const v1::DatasetReport& report, std::string* text) {
  const v1::TokenLengths& lengths = report.lengths();
  absl::StrAppendFormat(text, "tokens: %s; in a row %d to %d, median %d, 95th percentile %d\n",
                        engine::HumanCount(report.tokens()), lengths.shortest(), lengths.longest(),
                        lengths.median(), lengths.percentile_95());
  if (report.cut_rows() > 0) {
    absl::StrAppendFormat(text, "rows that are cut to %d tokens: %d\n", report.max_length(),
                          report.cut_rows());
  }
  if (lengths.histogram().empty()) return;
  const int64_t greatest = std::ranges::max(lengths.histogram());
  for (int i = 0; i < lengths.histogram_size(); ++i) {
    const int64_t first = int64_t{1} << i, rows = lengths.histogram(i);
    if (2 * first <= lengths.shortest()) continue;
    absl::StrAppendFormat(text, "  %8d-%-8d %9d%s\n", first, 2 * first - 1, rows,
                          SmallBar(rows, greatest));
  }
}

void AppendLabels(const v1::DatasetReport& report, std::string* text) {
  if (report.labels() == 0) return;
  const int listed = std::min(report.label_counts_size(), kListedLabels);
  int64_t greatest = 1;
  for (const v1::LabelCount& label : report.label_counts()) {
    greatest = std::max(greatest, label.rows());
  }
  absl::StrAppendFormat(text, "labels: %d\n", report.labels());
  for (int i = 0; i < listed; ++i) {
    const v1::LabelCount& label = report.label_counts(i);
    absl::StrAppendFormat(text, "  %-17s %9d%s\n", engine::Quoted(label.name()), label.rows(),
                          SmallBar(label.rows(), greatest));
  }
  const int64_t more = report.labels() - listed;
  if (more > 0) absl::StrAppendFormat(text, "  and %d more\n", more);
}

void AppendBadRows(const v1::DatasetReport& report, std::string* text) {
  if (report.bad_rows() == 0) return;
  absl::StrAppend(text, "bad rows:\n");
  for (const v1::BadRow& row : report.first_bad_rows()) {
    absl::StrAppendFormat(text, "  line %d: %s\n", row.line(), row.message());
  }
  const int64_t more = report.bad_rows() - report.first_bad_rows_size();
  if (more > 0) absl::StrAppendFormat(text, "  and %d more\n", more);
}

std::string ReportText(const v1::DatasetReport& report) {
  std::string text =
      absl::StrFormat("rows: %d good, %d bad\n", report.good_rows(), report.bad_rows());
  if (report.has_lengths()) AppendLengths(report, &text);
  AppendLabels(report, &text);
  if (report.repeated_rows() > 0) {
    absl::StrAppendFormat(&text,
                          "rows with the text of an earlier row: %d, of which %d have another "
                          "label\n",
                          report.repeated_rows(), report.contradicting_rows());
  }
  for (const std::string& warning : report.warnings()) {
    absl::StrAppend(&text, "warning: ", warning, "\n");
  }
  AppendBadRows(report, &text);
  return text;
}

// What the table shows beside the state: how far it is.
std::string Done(const v1::Dataset& dataset) {
  const double fraction = dataset.state() == v1::DATASET_STATE_UPLOADING
                              ? static_cast<double>(dataset.received_bytes()) /
                                    static_cast<double>(std::max<int64_t>(dataset.size_bytes(), 1))
                              : dataset.fraction();
  return absl::StrCat(static_cast<int>(fraction * 100), "%");
}

}  // namespace

Json DatasetJson(const v1::Dataset& dataset) {
  Json json = {{"id", dataset.id()},
               {"uid", dataset.uid()},
               {"etag", dataset.etag()},
               {"state", StateName(dataset.state())},
               {"task", dataset.task()},
               {"format", dataset.format()},
               {"model", dataset.model()},
               {"size_bytes", dataset.size_bytes()},
               {"received_bytes", dataset.received_bytes()},
               {"digest", dataset.digest()},
               {"fraction", dataset.fraction()},
               {"labels", Json::object()},
               {"create_time", TimeUtil::ToString(dataset.create_time())}};
  for (const auto& [key, value] : dataset.labels()) json["labels"][key] = value;
  if (dataset.has_ready_time()) json["ready_time"] = TimeUtil::ToString(dataset.ready_time());
  if (!dataset.error().empty()) json["error"] = dataset.error();
  if (dataset.has_report()) json["report"] = ReportJson(dataset.report());
  return json;
}

std::string DatasetsTable(const std::vector<v1::Dataset>& datasets) {
  std::vector<std::vector<std::string>> rows = {
      {"ID", "STATE", "DONE", "TASK", "FORMAT", "SIZE", "CREATED"}};
  for (const v1::Dataset& dataset : datasets) {
    rows.push_back({dataset.id(), absl::AsciiStrToLower(StateName(dataset.state())), Done(dataset),
                    dataset.task(), dataset.format(), engine::HumanBytes(dataset.size_bytes()),
                    engine::HumanTime(dataset.create_time().seconds())});
  }
  return Table(rows);
}

std::string DatasetText(const v1::Dataset& dataset) {
  std::string text = DatasetsTable({dataset});
  if (!dataset.error().empty()) absl::StrAppend(&text, dataset.error(), "\n");
  if (dataset.has_report()) text += ReportText(dataset.report());
  return text;
}

}  // namespace whipsnake::server
