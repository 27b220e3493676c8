// The layers in turn: those from where the last set ended, up to the first that does not fit in the
// budget. After the last layer comes the first. A control.
#include <nlohmann/json.hpp>

#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/finetune/freezing/layer_budget.h"
#include "engine/finetune/freezing/schedulers.h"

namespace whipsnake::engine {
namespace {

class RoundRobinScheduler : public LayerScheduler {
 public:
  explicit RoundRobinScheduler(const SchedulerSetup& setup)
      : LayerScheduler(SchedulerKind::kRoundRobin, std::ssize(setup.layers)),
        budget_(setup.options, setup.layers),
        always_active_(AlwaysActive(setup.layers)) {}

  std::vector<bool> Choose(int64_t /*step*/) override {
    ActiveSet set(budget_, always_active_);
    int64_t count = 0;
    while (count < layers() && set.Add((next_ + count) % layers())) ++count;
    next_ = (next_ + count) % layers();
    return set.active();
  }

 private:
  void Save(nlohmann::json& state) const override { state["next"] = next_; }
  absl::Status Load(const nlohmann::json& state) override {
    ASSIGN_OR_RETURN(next_, JsonView(&state)["next"].Integer(0, layers() - 1));
    return absl::OkStatus();
  }

  const LayerBudget budget_;
  const std::vector<bool> always_active_;
  int64_t next_ = 0;  // the layer that is tried first
};

}  // namespace

std::unique_ptr<LayerScheduler> MakeRoundRobinScheduler(const SchedulerSetup& setup) {
  return std::make_unique<RoundRobinScheduler>(setup);
}

}  // namespace whipsnake::engine
