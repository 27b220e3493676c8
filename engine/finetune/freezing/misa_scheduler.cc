// The scheduler of MISA (Liu et al., arXiv 2511.00056, with the authors' program): layers are drawn
// by their gradients, as far as they fit in the budget, and train for T steps.
//
//   G[l] ← b·G[l] + (1 - b)·‖g[l]‖²/n[l]        in each step in which l is active, b = β^(1/T)
//   x[l] = min(G[l] / (τ·mean(G)), 5)
//
// where g[l] is the gradient of layer l and n[l] are its elements. Draws are without replacement,
// with probabilities proportional to exp(x[l]). The first measure of a layer sets G[l]. Layers that
// have not been measured come first, and until there are none, each step has a draw.
//
// T is `switch_every`, τ is `misa_temperature`, β is 0.8. The paper averages over the T steps
// first; b makes an average over steps that forgets as fast. The paper's exponent is η·G[l], whose
// scale depends on the model, so that η is 1 in one of its runs and 500 in another; dividing by the
// mean gives τ = 1/η the same meaning in all. The program bounds the exponent by 5. It also chooses
// the two layers that have waited longest in every draw, which is left out here.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/finetune/freezing/layer_budget.h"
#include "engine/finetune/freezing/layer_numbers.h"
#include "engine/finetune/freezing/random_order.h"
#include "engine/finetune/freezing/schedulers.h"

namespace whipsnake::engine {
namespace {

constexpr double kDecay = 0.8;  // β
constexpr double kLargestExponent = 5;

bool IsMeasured(const std::optional<double>& number) { return number.has_value(); }
bool IsFiniteOrUnset(const std::optional<double>& number) {
  return std::isfinite(number.value_or(0));
}

// x of the formula; 0 for a layer that has not been measured.
std::vector<double> Exponents(const LayerNumbers& averages, double temperature) {
  double sum = 0;
  for (const std::optional<double>& average : averages) sum += average.value_or(0);
  const double mean = sum / std::max<int64_t>(std::ranges::count_if(averages, IsMeasured), 1);
  std::vector<double> exponents(averages.size(), 0.0);
  for (size_t layer = 0; layer < averages.size(); ++layer) {
    if (averages[layer].value_or(0) == 0) continue;
    exponents[layer] = std::min(*averages[layer] / (temperature * mean), kLargestExponent);
  }
  return exponents;
}

absl::StatusOr<std::vector<bool>> ParseFlags(const JsonView& view, int64_t layers) {
  ASSIGN_OR_RETURN(const std::vector<JsonView> elements, view.Elements());
  if (std::ssize(elements) != layers) {
    return view.Invalid(absl::StrCat("a list of ", layers, " flags"));
  }
  std::vector<bool> flags;
  for (const JsonView& element : elements) {
    ASSIGN_OR_RETURN(const bool flag, element.Boolean());
    flags.push_back(flag);
  }
  return flags;
}

class MisaScheduler : public LayerScheduler {
 public:
  explicit MisaScheduler(const SchedulerSetup& setup)
      : LayerScheduler(SchedulerKind::kMisa, std::ssize(setup.layers)),
        setup_(setup),
        budget_(setup.options, setup.layers),
        always_active_(AlwaysActive(setup.layers)),
        step_decay_(std::pow(kDecay, 1.0 / static_cast<double>(setup.options.switch_every))),
        averages_(layers()),
        active_(layers(), false) {}

  std::vector<bool> Choose(int64_t step) override {
    const bool all_measured = std::ranges::all_of(averages_, IsMeasured);
    if (!all_measured || step >= last_draw_ + setup_.options.switch_every) Draw(step);
    return active_;
  }

  bool measures() const override { return true; }
  // Gradients that are not finite leave the average as it is.
  void Observe(int64_t /*step*/, double /*learning_rate*/,
               std::span<const LayerMeasure> measures) override {
    for (const LayerMeasure& measure : measures) {
      const double square = measure.gradient_norm * measure.gradient_norm /
                            static_cast<double>(setup_.layers[measure.layer].elements);
      if (!std::isfinite(square)) continue;
      std::optional<double>& average = averages_[measure.layer];
      average = step_decay_ * average.value_or(square) + (1 - step_decay_) * square;
    }
  }

 private:
  void Draw(int64_t step) {
    std::vector<int64_t> order =
        RandomOrder(setup_.seed, step, Exponents(averages_, setup_.options.misa_temperature));
    std::stable_partition(order.begin(), order.end(),
                          [&](int64_t layer) { return !averages_[layer]; });
    active_ = Fill(budget_, always_active_, order);
    last_draw_ = step;
  }

  void Save(nlohmann::json& state) const override {
    state["averages"] = LayerNumbersToJson(averages_);
    state["active"] = active_;
    state["last_draw"] = last_draw_;
  }
  absl::Status Load(const nlohmann::json& state) override {
    const JsonView view(&state);
    ASSIGN_OR_RETURN(LayerNumbers averages, ParseLayerNumbers(state, "averages", layers()));
    if (!std::ranges::all_of(averages, IsFiniteOrUnset)) {
      return view["averages"].Invalid("finite numbers");
    }
    ASSIGN_OR_RETURN(std::vector<bool> active, ParseFlags(view["active"], layers()));
    ASSIGN_OR_RETURN(last_draw_, view["last_draw"].Integer(0, int64_t{1} << 62));
    averages_ = std::move(averages);
    active_ = std::move(active);
    return absl::OkStatus();
  }

  const SchedulerSetup setup_;
  const LayerBudget budget_;
  const std::vector<bool> always_active_;
  const double step_decay_;  // b
  LayerNumbers averages_;    // G
  std::vector<bool> active_;
  int64_t last_draw_ = 0;
};

}  // namespace

std::unique_ptr<LayerScheduler> MakeMisaScheduler(const SchedulerSetup& setup) {
  return std::make_unique<MisaScheduler>(setup);
}

}  // namespace whipsnake::engine
