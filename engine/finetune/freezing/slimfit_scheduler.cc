// The scheduler of SlimFit (Ardakani et al., arXiv 2305.18513, with the authors' program): a layer
// trains if it changed much when it trained last.
//
// Layer l has the score s[l], by default the mean of |Δ/w| over its weight. Before a step, the
// layers with the largest scores become active, as far as they fit in the budget; after it, their
// scores are measured anew. A frozen layer keeps its score. A layer that has not been measured
// ranks above all that have, in a random order. So each is active once before one is active again
// if the budget counts layers; if it counts bytes, a layer that does not fit beside those before it
// waits, and has its turn within as many steps as there are layers. NaN ranks above all numbers,
// and of equal scores the later layer ranks higher.
//
// The published scheduler also measures layers whose learning rate is 0, as that of a parameter
// group can be: such a layer scores 0 and is not chosen again. By default, they are not measured.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/base/status.h"
#include "engine/finetune/freezing/layer_budget.h"
#include "engine/finetune/freezing/layer_numbers.h"
#include "engine/finetune/freezing/random_order.h"
#include "engine/finetune/freezing/schedulers.h"

namespace whipsnake::engine {
namespace {

double ScoreOf(LayerScore score, const LayerMeasure& measure, double learning_rate) {
  switch (score) {
    case LayerScore::kDistance:
      return measure.distance;
    case LayerScore::kGuardedDistance:
      return measure.guarded_distance;
    case LayerScore::kNormRatio:
      return measure.change_norm / measure.value_norm;
    case LayerScore::kDistancePerRate:
      return measure.guarded_distance / learning_rate;
    case LayerScore::kGradientNorm:
      return measure.gradient_norm;
  }
  return 0;
}

// The inverse of a permutation.
std::vector<int64_t> PlacesOf(const std::vector<int64_t>& order) {
  std::vector<int64_t> places(order.size());
  for (int64_t place = 0; place < std::ssize(order); ++place) places[order[place]] = place;
  return places;
}

class SlimFitScheduler : public LayerScheduler {
 public:
  explicit SlimFitScheduler(const SchedulerSetup& setup)
      : LayerScheduler(SchedulerKind::kSlimFit, std::ssize(setup.layers)),
        options_(setup.options),
        budget_(setup.options, setup.layers),
        always_active_(AlwaysActive(setup.layers)),
        first_places_(PlacesOf(RandomOrder(setup.seed, 0, layers()))),
        scores_(layers()) {}

  std::vector<bool> Choose(int64_t /*step*/) override {
    std::vector<int64_t> order(layers());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, [this](int64_t a, int64_t b) { return RanksAbove(a, b); });
    return Fill(budget_, always_active_, order);
  }

  bool measures() const override { return true; }
  void Observe(int64_t /*step*/, double learning_rate,
               std::span<const LayerMeasure> measures) override {
    for (const LayerMeasure& measure : measures) {
      const double rate = learning_rate * measure.learning_rate_factor;
      if (rate == 0 && !options_.refresh_at_zero_rate) continue;
      scores_[measure.layer] = ScoreOf(options_.score, measure, rate);
    }
  }

 private:
  void Save(nlohmann::json& state) const override { state["scores"] = LayerNumbersToJson(scores_); }
  absl::Status Load(const nlohmann::json& state) override {
    ASSIGN_OR_RETURN(scores_, ParseLayerNumbers(state, "scores", layers()));
    return absl::OkStatus();
  }

  bool RanksAbove(int64_t a, int64_t b) const {
    const std::optional<double>&score_a = scores_[a], &score_b = scores_[b];
    if (!score_a && !score_b) return first_places_[a] < first_places_[b];
    if (!score_a || !score_b) return !score_a;
    if (std::isnan(*score_a) != std::isnan(*score_b)) return std::isnan(*score_a);
    if (*score_a > *score_b || *score_a < *score_b) return *score_a > *score_b;
    return a > b;
  }

  const FreezingOptions options_;
  const LayerBudget budget_;
  const std::vector<bool> always_active_;
  const std::vector<int64_t> first_places_;  // of layers in the order before they are measured
  LayerNumbers scores_;
};

}  // namespace

std::unique_ptr<LayerScheduler> MakeSlimFitScheduler(const SchedulerSetup& setup) {
  return std::make_unique<SlimFitScheduler>(setup);
}

}  // namespace whipsnake::engine
