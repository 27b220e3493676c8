// Full fine-tuning: all layers in every step.
#include "engine/finetune/freezing/schedulers.h"

namespace whipsnake::engine {
namespace {

class FullScheduler : public LayerScheduler {
 public:
  explicit FullScheduler(int64_t layers) : LayerScheduler(SchedulerKind::kFull, layers) {}

  std::vector<bool> Choose(int64_t /*step*/) override { return std::vector<bool>(layers(), true); }
};

}  // namespace

std::unique_ptr<LayerScheduler> MakeFullScheduler(const SchedulerSetup& setup) {
  return std::make_unique<FullScheduler>(std::ssize(setup.layers));
}

}  // namespace whipsnake::engine
