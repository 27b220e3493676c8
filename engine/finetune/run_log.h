// What a training run has done: one record for each step and evaluation.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_RUN_LOG_H_
#define WHIPSNAKE_ENGINE_FINETUNE_RUN_LOG_H_

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/layers/training/tensor_heap.h"

namespace whipsnake::engine {

// Results depend on the data, the settings and the seed alone; the measurements at the end do not
// take part in comparisons of logs.
struct StepRecord {
  int64_t step = 0;  // from 1
  double epoch = 0;  // after the step
  double loss = 0;   // the mean over the step's targets, before the update
  // Of the step's targets, for all tasks but regression.
  std::optional<double> accuracy = {};
  std::optional<double> margin = {};  // DPO: of the rewards
  double learning_rate = 0;
  // Of all gradients, before clipping; unset if tensors are updated in the backward pass.
  std::optional<double> gradient_norm = {};
  int64_t examples = 0;  // 0: not known, of a log that an older version wrote
  int64_t tokens = 0;
  // Whether each layer of LayerFreezing::layers() trained. Without a scheduler, it is empty in all
  // steps of a run.
  std::vector<bool> active = {};
  // Of the heap, at their highest in the step: of all tensors, and of each class.
  int64_t heap_bytes = 0;
  int64_t moment_bytes = 0;  // of the optimizer, after the step
  std::array<int64_t, kTensorClassCount> class_bytes{};

  double seconds = 0;
};

struct EvaluationRecord {
  int64_t step = 0;  // after which it ran; 0: before training
  double loss = 0;
  std::optional<double> accuracy = {};
  std::optional<double> margin = {};
  int64_t targets = 0;

  double seconds = 0;
};

struct RunLog {
  std::vector<StepRecord> steps;
  std::vector<EvaluationRecord> evaluations;

  // The index of the evaluation with the lowest loss, the first of several; -1 without any.
  int64_t BestEvaluation() const;
};

// Numbers keep all digits. `active` is a text of the lengths of runs of layers that are alike, of
// frozen and of active ones in turn, frozen ones first: "2,1,4" if only the third of seven layers
// trained, "0,7" if all did. `class_bytes` is an object that has the classes of which there was a
// tensor, by name.
nlohmann::json ToJson(const StepRecord& record);
nlohmann::json ToJson(const EvaluationRecord& record);
// In a log, a step has `active` and `class_bytes` only if they differ from those of the step before
// it, so that the logs of long runs stay short.
nlohmann::json ToJson(const RunLog& log);
// The inverse. Returns INVALID_ARGUMENT, naming the key, for another document.
absl::StatusOr<RunLog> ParseRunLog(const nlohmann::json& json);

// The layers of an `active`, whether each is active. INVALID_ARGUMENT for another value.
absl::StatusOr<std::vector<bool>> ParseActiveLayers(const nlohmann::json& text);

// As StepRecord has it.
nlohmann::json ClassBytesToJson(const std::array<int64_t, kTensorClassCount>& class_bytes);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_RUN_LOG_H_
