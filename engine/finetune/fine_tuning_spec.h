// The settings of a fine-tuning job, and their JSON form.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_FINE_TUNING_SPEC_H_
#define WHIPSNAKE_ENGINE_FINETUNE_FINE_TUNING_SPEC_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/finetune/training_options.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

// How a file names the parts of its rows. See DatasetOptions.
struct FileColumns {
  bool header = true;             // of a CSV file
  std::string label_column = {};  // "": the default

  bool operator==(const FileColumns&) const = default;
};

struct FineTuningSpec {
  std::string model;            // the directory of the model that training begins with
  std::string training_file;    // JSON lines or CSV; see row.h
  std::string evaluation_file;  // "": the model is not evaluated
  std::string out;              // the directory to write; must not exist or be empty
  std::string checkpoints;  // the directory of the run's checkpoints; "": `out` + ".checkpoints"
  int64_t keep_checkpoints = 2;                     // the number of the last ones that are kept
  bool resume = false;                              // goes on after the last checkpoint
  kernels::DType out_dtype = kernels::DType::kF32;  // of the result's tensors: kF32 or kBF16

  TrainingOptions training;
  int64_t max_length = 0;  // tokens of a sequence; 0: the model's positions, up to 1024
  bool packed = true;      // see DatasetOptions
  FileColumns training_columns, evaluation_columns;  // JSON has one for both files

  // The bytes that the run may take. Settings that are not given are then chosen so that it fits:
  // plan/memory_budget.h. 0: no budget, and the settings are as they are.
  int64_t memory_budget = 0;
  GivenSettings given;  // by the JSON object

  std::string version;  // of the program, for the report; not read from JSON

  std::string checkpoint_directory() const;
};

// Reads a job's settings from a JSON object. Its keys are those of ToJson(TrainingOptions) and
//
//   model, train, eval, out, checkpoints, keep_checkpoints, resume, out_type ("fp32" or "bf16"),
//   max_length, packed, header, label_column, memory_budget (a number of bytes, or a text such as
//   "2GB")
//
// Missing keys have the defaults of the structs, but max_gradient_norm is 0 if update_in_backward
// is true. Returns INVALID_ARGUMENT, naming the key, for an unknown one, a value of another type,
// and what Validate() refuses.
absl::StatusOr<FineTuningSpec> ParseFineTuningSpec(const nlohmann::json& json);

// Returns an error, naming the field, unless the result and the checkpoints can be written where
// the spec says: INVALID_ARGUMENT without `out`, ALREADY_EXISTS if there is something, NOT_FOUND if
// the directory above is missing.
absl::Status CheckOut(const FineTuningSpec& spec);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_FINE_TUNING_SPEC_H_
