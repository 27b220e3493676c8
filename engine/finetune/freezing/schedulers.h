// The makers of all schedulers, for MakeLayerScheduler(). The options are valid and there is at
// least one layer; those of LISA and BAdam have at least one block.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_FREEZING_SCHEDULERS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_FREEZING_SCHEDULERS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/finetune/freezing/layer_scheduler.h"

namespace whipsnake::engine {

struct SchedulerSetup {
  FreezingOptions options;
  std::vector<ScheduledLayer> layers;
  uint64_t seed = 0;
};

std::unique_ptr<LayerScheduler> MakeFullScheduler(const SchedulerSetup& setup);
std::unique_ptr<LayerScheduler> MakeStaticTopScheduler(const SchedulerSetup& setup);
std::unique_ptr<LayerScheduler> MakeRandomScheduler(const SchedulerSetup& setup);
std::unique_ptr<LayerScheduler> MakeRoundRobinScheduler(const SchedulerSetup& setup);
std::unique_ptr<LayerScheduler> MakeSlimFitScheduler(const SchedulerSetup& setup);
std::unique_ptr<LayerScheduler> MakeLisaScheduler(const SchedulerSetup& setup);
std::unique_ptr<LayerScheduler> MakeBAdamScheduler(const SchedulerSetup& setup);
std::unique_ptr<LayerScheduler> MakeMisaScheduler(const SchedulerSetup& setup);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_FREEZING_SCHEDULERS_H_
