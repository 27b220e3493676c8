// What decides the result of a training run.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_RUN_IDENTITY_H_
#define WHIPSNAKE_ENGINE_FINETUNE_RUN_IDENTITY_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

// Two runs of equal identity take the same steps.
struct RunIdentity {
  // A JSON object: ToJson(TrainingOptions), and what else decides how the data are read.
  std::string settings = "{}";
  std::string training_data;    // digests
  std::string evaluation_data;  // "" without any
  std::string model;            // before training
  std::vector<std::string> labels;
};

// Returns an object with the settings and the other fields side by side. Returns INVALID_ARGUMENT
// if the settings are not a JSON object.
absl::StatusOr<nlohmann::json> ToJson(const RunIdentity& identity);

// Returns FAILED_PRECONDITION, naming every key that differs with both values, unless the ToJson()
// of a checkpoint's run equals that of this run.
absl::Status CheckSameRun(const nlohmann::json& saved, const nlohmann::json& now);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_RUN_IDENTITY_H_
