#include "engine/finetune/freezing/layer_scheduler.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/finetune/freezing/blocks.h"
#include "engine/finetune/freezing/schedulers.h"

namespace whipsnake::engine {
namespace {

absl::Status CheckBlocks(const SchedulerSetup& setup) {
  const FreezingOptions& options = setup.options;
  if (options.scheduler != SchedulerKind::kLisa && options.scheduler != SchedulerKind::kBAdam) {
    return absl::OkStatus();
  }
  const int64_t blocks = std::ssize(BlocksOf(setup.layers));
  if (blocks == 0) {
    return InvalidField("scheduler", Quoted(Name(options.scheduler)),
                        "a scheduler that needs no blocks, as the layers have none");
  }
  if (options.lisa_blocks > blocks) {
    return InvalidField("lisa_blocks", absl::StrCat(options.lisa_blocks),
                        absl::StrCat("at most ", blocks, ", the number of blocks"));
  }
  return absl::OkStatus();
}

std::unique_ptr<LayerScheduler> Make(const SchedulerSetup& setup) {
  switch (setup.options.scheduler) {
    case SchedulerKind::kFull:
      return MakeFullScheduler(setup);
    case SchedulerKind::kStaticTop:
      return MakeStaticTopScheduler(setup);
    case SchedulerKind::kRandom:
      return MakeRandomScheduler(setup);
    case SchedulerKind::kRoundRobin:
      return MakeRoundRobinScheduler(setup);
    case SchedulerKind::kSlimFit:
      return MakeSlimFitScheduler(setup);
    case SchedulerKind::kLisa:
      return MakeLisaScheduler(setup);
    case SchedulerKind::kBAdam:
      return MakeBAdamScheduler(setup);
    case SchedulerKind::kMisa:
      return MakeMisaScheduler(setup);
  }
  return nullptr;
}

}  // namespace

nlohmann::json LayerScheduler::State() const {
  nlohmann::json state = {{"scheduler", std::string(Name(kind_))}, {"layers", layers_}};
  Save(state);
  return state;
}

absl::Status LayerScheduler::Restore(const nlohmann::json& state) {
  const JsonView view(&state);
  if (!view["scheduler"].IsText(Name(kind_))) return view["scheduler"].Invalid(Name(kind_));
  RETURN_IF_ERROR(view["layers"].Integer(layers_, layers_).status());
  return Load(state);
}

absl::StatusOr<std::unique_ptr<LayerScheduler>> MakeLayerScheduler(
    const FreezingOptions& options, std::vector<ScheduledLayer> layers, uint64_t seed) {
  RETURN_IF_ERROR(Validate(options));
  if (layers.empty()) return InvalidField("layers", "none", "at least one");
  const SchedulerSetup setup{options, std::move(layers), seed};
  RETURN_IF_ERROR(CheckBlocks(setup));
  return Make(setup);
}

}  // namespace whipsnake::engine
