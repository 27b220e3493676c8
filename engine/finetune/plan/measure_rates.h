// How fast this machine computes the parts of a training step, and how long a step then takes.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_PLAN_MEASURE_RATES_H_
#define WHIPSNAKE_ENGINE_FINETUNE_PLAN_MEASURE_RATES_H_

#include <cstdint>

#include "engine/base/executor.h"
#include "engine/finetune/plan/training_plan.h"
#include "engine/layers/training/pass_cost.h"
#include "kernels/dtype.h"

namespace whipsnake::engine {

// Each in units of PassCost per second.
struct ComputeRates {
  double product_flops = 0;
  double attention_flops = 0;
  double scan_elements = 0;
  double bytes = 0;
};

// The shapes at which the rates are measured.
struct RateShape {
  int64_t sequences = 1;
  int64_t length = 256;          // of each
  int64_t width = 768;           // of the model; products are with matrices [4 · width, width]
  int64_t parameters = 1 << 22;  // that are updated
  kernels::DType arithmetic = kernels::DType::kF32;  // of products: kF32 or kBF16

  // Those of a run, with fewer rows and parameters where it has very many: those that are
  // updated do not fit a cache.
  static RateShape Of(const PlannedRun& run);
};

// Runs the kernels of training on the executor, with its threads, each part forward and backward in
// the proportions of a training step. Heads have 64 columns, scans 16 states and 2 · width
// channels. Takes about 0.3 s and up to 150 MB of memory. Other work on the machine makes the rates
// lower.
ComputeRates MeasureRates(Executor& executor, const RateShape& shape);

// The seconds of a step, which computes its parts one after the other.
double EstimateSeconds(const PassCost& cost, const ComputeRates& rates);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_PLAN_MEASURE_RATES_H_
