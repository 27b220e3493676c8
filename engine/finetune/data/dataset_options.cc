#include "engine/finetune/data/dataset_options.h"

#include "engine/base/field_errors.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kMaxMaxLength = int64_t{1} << 24;
constexpr int64_t kMaxMaxRowBytes = int64_t{64} << 20;

absl::Status CheckRange(std::string_view field, int64_t value, int64_t minimum, int64_t maximum) {
  if (minimum <= value && value <= maximum) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(value),
                      absl::StrCat("an integer from ", minimum, " to ", maximum));
}

}  // namespace

absl::Status Validate(const DatasetOptions& options) {
  FieldErrors errors;
  errors.Add(CheckRange("max_length", options.max_length, 2, kMaxMaxLength));
  errors.Add(CheckRange("max_row_bytes", options.max_row_bytes, 1, kMaxMaxRowBytes));
  if (options.end_of_text < 0 && (options.packs() || options.task == Task::kDpo)) {
    errors.Add(InvalidField("end_of_text", "none", "a model with an end-of-text token"));
  }
  return errors.status();
}

}  // namespace whipsnake::engine
