#include "engine/finetune/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

constexpr std::string_view kScheduleNames[] = {"linear", "cosine", "constant"};

}  // namespace

std::string_view Name(Schedule schedule) { return kScheduleNames[static_cast<int>(schedule)]; }

absl::StatusOr<Schedule> ParseSchedule(std::string_view name) {
  const auto found = std::ranges::find(kScheduleNames, name);
  if (found == std::end(kScheduleNames)) {
    return InvalidField("schedule", Quoted(name), "linear, cosine or constant");
  }
  return static_cast<Schedule>(found - std::begin(kScheduleNames));
}

double LearningRate::At(int64_t step) const {
  if (step < warmup_steps) return rate * static_cast<double>(step + 1) / warmup_steps;
  const int64_t after = std::max<int64_t>(steps - warmup_steps, 1);
  const double t = std::min(static_cast<double>(step - warmup_steps) / after, 1.0);
  switch (schedule) {
    case Schedule::kConstant:
      return rate;
    case Schedule::kLinear:
      return rate * (1 - t);
    case Schedule::kCosine:
      return rate * (1 + std::cos(std::numbers::pi * t)) / 2;
  }
  return rate;
}

}  // namespace whipsnake::engine
