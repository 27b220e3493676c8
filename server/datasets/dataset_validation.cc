#include "server/datasets/dataset_validation.h"

#include <algorithm>

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/finetune/data/data_file.h"
#include "engine/finetune/data/dataset_report.h"
#include "engine/finetune/data/dataset_scan.h"
#include "server/datasets/dataset_header.h"

namespace whipsnake::server {
namespace {

constexpr int64_t kListedLabels = 1000;
constexpr int64_t kMaxTextBytes = 1000;

v1::TokenLengths ToProto(const engine::LengthSummary& lengths) {
  v1::TokenLengths proto;
  proto.set_shortest(lengths.shortest);
  proto.set_median(lengths.median);
  proto.set_percentile_95(lengths.percentile_95);
  proto.set_longest(lengths.longest);
  proto.mutable_histogram()->Assign(lengths.histogram.begin(), lengths.histogram.end());
  return proto;
}

v1::DatasetReport ToProto(const engine::DatasetReport& report, bool has_tokens) {
  v1::DatasetReport proto;
  proto.set_good_rows(report.good_rows);
  proto.set_bad_rows(report.bad_rows);
  for (const engine::BadRow& row : report.first_bad_rows) {
    v1::BadRow& bad = *proto.add_first_bad_rows();
    bad.set_line(row.line);
    bad.set_field(engine::BoundedUtf8(row.field, kMaxTextBytes));
    bad.set_message(engine::BoundedUtf8(row.message, kMaxTextBytes));
  }
  proto.set_labels(std::ssize(report.labels));
  for (int64_t i = 0; i < std::min<int64_t>(std::ssize(report.labels), kListedLabels); ++i) {
    v1::LabelCount& label = *proto.add_label_counts();
    label.set_name(report.labels[i].name);
    label.set_rows(report.labels[i].rows);
  }
  if (has_tokens) {
    *proto.mutable_lengths() = ToProto(report.lengths);
    proto.set_tokens(report.tokens);
    proto.set_max_length(report.max_length);
    proto.set_cut_rows(report.cut_rows);
  }
  proto.set_repeated_rows(report.repeated.count);
  proto.set_contradicting_rows(report.contradicting.count);
  for (const std::string& warning : Warnings(report)) {
    proto.add_warnings(engine::BoundedUtf8(warning, kMaxTextBytes));
  }
  return proto;
}

}  // namespace

absl::StatusOr<engine::DatasetOptions> OptionsFor(const v1::UploadHeader& header,
                                                  const DatasetModel& model) {
  engine::DatasetOptions options = OptionsOf(header);
  if (model.tokenizer == nullptr) return options;
  options.end_of_text = model.end_of_text;
  options.vocabulary = model.vocabulary;
  if (model.max_positions > 0 && header.max_length() == 0) {
    options.max_length = std::min(options.max_length, model.max_positions);
  }
  if (model.max_positions > 0 && options.max_length > model.max_positions) {
    return engine::InvalidField(
        "max_length", absl::StrCat(options.max_length),
        absl::StrCat("at most the model's ", model.max_positions, " positions"));
  }
  RETURN_IF_ERROR(engine::Validate(options));
  return options;
}

absl::StatusOr<v1::DatasetReport> ValidateFile(const std::string& path,
                                               const engine::DatasetOptions& options,
                                               const DatasetModel& model, engine::Ledger& ledger,
                                               const engine::WorkProgress& progress) {
  ASSIGN_OR_RETURN(const engine::DataFile file, engine::DataFile::Open(path));
  ASSIGN_OR_RETURN(const engine::ScannedFile scanned,
                   engine::ScanFile(file, options, model.tokenizer.get(), ledger, progress));
  return ToProto(scanned.report, model.tokenizer != nullptr);
}

}  // namespace whipsnake::server
