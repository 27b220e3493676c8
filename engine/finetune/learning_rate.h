// The learning rate over the steps of a training run.
//
//   warm-up   rate · (step + 1) / warmup_steps                      while step < warmup_steps
//   constant  rate
//   linear    rate · (1 - t)
//   cosine    rate · (1 + cos(π t)) / 2
//
// where t is the part of the steps after the warm-up that is over before `step`, from 0 to 1.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_LEARNING_RATE_H_
#define WHIPSNAKE_ENGINE_FINETUNE_LEARNING_RATE_H_

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

enum class Schedule { kLinear, kCosine, kConstant };

// "linear", "cosine", "constant".
std::string_view Name(Schedule schedule);
// Returns INVALID_ARGUMENT, naming the known ones, for another name.
absl::StatusOr<Schedule> ParseSchedule(std::string_view name);

struct LearningRate {
  Schedule schedule = Schedule::kLinear;
  double rate = 0;  // the largest
  int64_t warmup_steps = 0;
  int64_t steps = 0;  // of the run

  // Of the step, 0 <= step < steps.
  double At(int64_t step) const;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_LEARNING_RATE_H_
