// The steps of a run in bins of equal numbers, for drawings that have no room for each step.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_REPORT_STEP_BINS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_REPORT_STEP_BINS_H_

#include <algorithm>
#include <cstdint>

namespace whipsnake::engine {

struct StepBins {
  int64_t steps = 0;
  int64_t width = 1;  // steps of a bin; the last may have fewer

  // At most `most` bins, with one step each if that is enough.
  static StepBins Of(int64_t steps, int64_t most) {
    return {.steps = steps, .width = std::max<int64_t>((steps + most - 1) / most, 1)};
  }

  int64_t count() const { return (steps + width - 1) / width; }
  // The steps of a bin, numbered from 0.
  int64_t begin(int64_t bin) const { return bin * width; }
  int64_t end(int64_t bin) const { return std::min((bin + 1) * width, steps); }
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_REPORT_STEP_BINS_H_
