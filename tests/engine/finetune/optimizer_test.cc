// Settings of optimizers, and the life of their moments.
#include "engine/finetune/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "tests/engine/base/support.h"

namespace whipsnake::engine {
namespace {

constexpr double kRate = 0.125;

// One of each type of moments.
std::vector<OptimizerOptions> AllKinds() {
  return {{.moments = MomentKind::kKeep},
          {.moments = MomentKind::k8Bit},
          {.moments = MomentKind::kDrop},
          {.kind = OptimizerKind::kSgd},
          {.kind = OptimizerKind::kSgd, .momentum = 0}};
}

TEST(MomentKindTest, IsReadByItsName) {
  for (const MomentKind kind : {MomentKind::kKeep, MomentKind::k8Bit, MomentKind::kDrop}) {
    const auto parsed = ParseMomentKind(Name(kind));
    ASSERT_THAT(parsed, IsOk());
    EXPECT_EQ(*parsed, kind);
  }
  EXPECT_THAT(ParseMomentKind("4bit"),
              Fails(absl::StatusCode::kInvalidArgument,
                    "moments: \"4bit\" seen, expected keep, 8bit or drop"));
}

class OptimizerTest : public ::testing::Test {
 protected:
  OptimizerTest() {
    Add("a.weight", {4, 4}, ParameterRole::kMatrix);
    Add("a.bias", {4}, ParameterRole::kBias);
    Add("norm.weight", {4}, ParameterRole::kNormScale);
    Add("act.lr", {1}, ParameterRole::kScalar);
  }
  void Add(const std::string& name, std::vector<int64_t> shape, ParameterRole role) {
    const auto parameter = parameters_.Add(name, shape, role);
    ASSERT_THAT(parameter, IsOk());
    std::fill_n((*parameter)->data(), (*parameter)->elements(), 1.0f);
  }
  // The change of the first element by one step with gradients of `gradient`.
  double Change(const OptimizerOptions& options, const std::string& name, float gradient) {
    auto optimizer = Optimizer::Create(options, parameters_, &ledger_);
    EXPECT_THAT(optimizer, IsOk());
    TrainableParameter& parameter = *parameters_.Find(name);
    std::fill_n(parameter.data(), parameter.elements(), 1.0f);
    const std::vector<float> gradients(parameter.elements(), gradient);
    EXPECT_THAT(optimizer->Update({}, parameter, gradients.data(), kRate, 1), IsOk());
    return parameter.data()[0] - 1.0;
  }

  Optimizer Make(const OptimizerOptions& options) {
    auto optimizer = Optimizer::Create(options, parameters_, &ledger_);
    EXPECT_THAT(optimizer, IsOk());
    return *std::move(optimizer);
  }
  // Updates a parameter with gradients that depend on `seed`.
  kernels::UpdateMeasure Update(Optimizer& optimizer, const std::string& name, int seed) {
    TrainableParameter& parameter = *parameters_.Find(name);
    std::vector<float> gradients(parameter.elements());
    for (float& gradient : gradients) gradient = 0.01f * static_cast<float>(++seed * 37 % 100 - 50);
    kernels::UpdateMeasure measure;
    EXPECT_THAT(optimizer.Update({}, parameter, gradients.data(), kRate, 1, &measure), IsOk());
    return measure;
  }
  // The bytes of a parameter and of its state, and the number of its updates.
  std::map<std::string, std::string> StateOf(Optimizer& optimizer, const std::string& name) {
    std::map<std::string, std::string> state;
    const auto add = [&](const std::string& part, std::span<const std::byte> bytes) {
      if (!part.starts_with(name)) return;
      state[part] = std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    };
    const TrainableParameter& parameter = *parameters_.Find(name);
    add(name, parameter.value.bytes());
    optimizer.Visit(add);
    state["step"] = std::to_string(optimizer.step(parameter));
    return state;
  }

  Ledger ledger_;
  TrainableParameters parameters_{kernels::DType::kF32, &ledger_};
};

TEST_F(OptimizerTest, OnlyMatricesAndEmbeddingsDecay) {
  const OptimizerOptions options{.kind = OptimizerKind::kSgd, .weight_decay = 0.5};
  EXPECT_EQ(Change(options, "a.weight", 0), -0.0625);
  for (const char* name : {"a.bias", "norm.weight", "act.lr"}) {
    EXPECT_EQ(Change(options, name, 0), 0) << name;
  }
}

TEST_F(OptimizerTest, TheLastGroupThatMatchesCounts) {
  OptimizerOptions options{.kind = OptimizerKind::kSgd, .weight_decay = 0};
  options.groups = {{"*", 0.5, {}}, {"a.*", 2, {}}, {"*.bias", 0, 0.25}};
  EXPECT_EQ(Change(options, "norm.weight", 1), -0.0625);
  EXPECT_EQ(Change(options, "a.weight", 1), -0.25);
  EXPECT_EQ(Change(options, "a.bias", 1), 0);
}

TEST_F(OptimizerTest, EpsilonHasAFactorOfItsOwn) {
  const OptimizerOptions options{.kind = OptimizerKind::kSgd, .crrelu_epsilon_factor = 4};
  EXPECT_EQ(Change(options, "act.lr", 1), -0.5);
  EXPECT_EQ(Change(options, "a.bias", 1), -0.125);
}

TEST_F(OptimizerTest, RefusesAPatternThatMatchesNothing) {
  OptimizerOptions options;
  options.groups = {{"b.*", 1, {}}};
  EXPECT_THAT(Optimizer::Create(options, parameters_, &ledger_),
              Fails(absl::StatusCode::kInvalidArgument, "groups.pattern: \"b.*\" seen"));
}

TEST_F(OptimizerTest, AnUpdateWithoutMemoryChangesNothing) {
  Ledger small(16);
  auto optimizer = Optimizer::Create({}, parameters_, &small);
  TrainableParameter& parameter = *parameters_.Find("a.weight");
  const std::vector<float> gradients(16, 1.0f);
  EXPECT_THAT(optimizer->Update({}, parameter, gradients.data(), 0.1, 1),
              Fails(absl::StatusCode::kResourceExhausted, "a.weight"));
  EXPECT_EQ(parameter.data()[0], 1.0f);
  EXPECT_EQ(optimizer->step(parameter), 0);
}

TEST_F(OptimizerTest, SgdHasNo8BitMoments) {
  const OptimizerOptions options{.kind = OptimizerKind::kSgd, .moments = MomentKind::k8Bit};
  EXPECT_THAT(Optimizer::Create(options, parameters_, &ledger_),
              Fails(absl::StatusCode::kInvalidArgument,
                    "moments: 8bit seen, expected keep or drop with sgd"));
}

TEST_F(OptimizerTest, AParameterThatIsNotUpdatedKeepsEveryBit) {
  for (const OptimizerOptions& options : AllKinds()) {
    Optimizer optimizer = Make(options);
    for (const char* name : {"a.weight", "a.bias", "norm.weight"}) Update(optimizer, name, 1);
    const auto before = StateOf(optimizer, "a.weight");
    for (int seed = 2; seed < 5; ++seed) Update(optimizer, "a.bias", seed);
    optimizer.Drop(*parameters_.Find("norm.weight"));
    EXPECT_EQ(StateOf(optimizer, "a.weight"), before);
    EXPECT_EQ(before.at("step"), "1");
  }
}

TEST_F(OptimizerTest, DroppedMomentsGiveTheirBytesBack) {
  for (const OptimizerOptions& options : AllKinds()) {
    Optimizer optimizer = Make(options);
    const TrainableParameter& bias = *parameters_.Find("a.bias");
    const TrainableParameter& weight = *parameters_.Find("a.weight");
    Update(optimizer, "a.bias", 1);
    const int64_t bytes = optimizer.bytes();
    const auto before = StateOf(optimizer, "a.bias");
    optimizer.Drop(weight);
    Update(optimizer, "a.weight", 2);
    const std::string value = StateOf(optimizer, "a.weight").at("a.weight");
    optimizer.Drop(weight);
    EXPECT_EQ(optimizer.bytes(), bytes);
    EXPECT_EQ(ledger_.used(Purpose::kOptimizer), bytes);
    EXPECT_EQ(optimizer.step(weight), 0);
    EXPECT_EQ(StateOf(optimizer, "a.weight").at("a.weight"), value);
    EXPECT_EQ(StateOf(optimizer, "a.bias"), before);
    optimizer.Drop(bias);
    EXPECT_EQ(ledger_.used(Purpose::kOptimizer), 0);
  }
}

TEST_F(OptimizerTest, TheUpdateAfterDroppingIsAFirstOne) {
  TrainableParameter& weight = *parameters_.Find("a.weight");
  for (const OptimizerOptions& options : AllKinds()) {
    Optimizer used = Make(options), fresh = Make(options);
    for (int seed = 0; seed < 3; ++seed) Update(used, "a.weight", seed);
    used.Drop(weight);
    const std::vector<float> value(weight.data(), weight.data() + weight.elements());
    Update(used, "a.weight", 9);
    const auto state = StateOf(used, "a.weight");
    std::ranges::copy(value, weight.data());
    Update(fresh, "a.weight", 9);
    EXPECT_EQ(state, StateOf(fresh, "a.weight"));
    EXPECT_EQ(state.at("step"), "1");
  }
}

TEST_F(OptimizerTest, AdamWsFirstUpdateHasTheSizeOfTheRate) {
  const OptimizerOptions options{.epsilon = 1e-20, .weight_decay = 0};
  for (const float gradient : {1e-6f, -1e-6f, 1.0f, -100.0f}) {
    EXPECT_NEAR(Change(options, "a.weight", gradient), gradient > 0 ? -kRate : kRate, 1e-6);
  }
}

TEST_F(OptimizerTest, UpdatesAreMeasured) {
  TrainableParameter& weight = *parameters_.Find("a.weight");
  for (const OptimizerOptions& options : AllKinds()) {
    Optimizer optimizer = Make(options);
    const std::vector<float> before(weight.data(), weight.data() + weight.elements());
    const kernels::UpdateMeasure measure = Update(optimizer, "a.weight", 3);
    double values = 0, changes = 0;
    for (size_t i = 0; i < before.size(); ++i) {
      values += before[i] * before[i];
      changes += (weight.data()[i] - before[i]) * (weight.data()[i] - before[i]);
    }
    EXPECT_NEAR(measure.value_squares, values, 1e-5 * values);
    EXPECT_NEAR(measure.change_squares, changes, 1e-5 * changes);
    EXPECT_GT(measure.gradient_squares, 0);
  }
}

}  // namespace
}  // namespace whipsnake::engine
