// Freezing in the trainer: what frozen layers leave out, what stays exact, and that plans are true.
// The schedulers alone are tested in layer_scheduler_test.cc, and plans in training_plan_test.cc.
// Checks are those of docs/freezing.md.
#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "engine/finetune/trainer.h"
#include "tests/engine/finetune/training_fixture.h"

namespace whipsnake::engine {
namespace {

constexpr const char* kGpt2 = "tests/goldens/training/crrelu";
constexpr const char* kMamba = "tests/goldens/training/mamba";

TrainingBatch RandomBatch(int64_t examples, int64_t length, uint32_t seed) {
  std::mt19937 random(seed);
  TrainingBatch batch;
  for (int64_t i = 0; i < examples; ++i) {
    std::vector<int32_t>& tokens = batch.examples.emplace_back().sequences.emplace_back();
    for (int64_t t = 0; t < length; ++t) tokens.push_back(static_cast<int32_t>(random() % 90));
  }
  return batch;
}

std::vector<TrainingBatch> RandomBatches(int count, uint32_t seed) {
  std::vector<TrainingBatch> batches;
  for (int i = 0; i < count; ++i) batches.push_back(RandomBatch(4, 48, seed + i));
  return batches;
}

std::vector<float> Values(const TrainableParameter& parameter) {
  return {parameter.data(), parameter.data() + parameter.elements()};
}

// A model with a trainer, and what they need.
struct Training {
  Training(const std::string& directory, const TrainingOptions& options,
           std::vector<TrainingBatch> given = RandomBatches(4, 1))
      : batches(std::move(given)) {
    const auto config = ReadModelConfig(directory);
    EXPECT_THAT(config, IsOk());
    const auto checkpoint = Checkpoint::Open(directory);
    auto loaded = TrainableModel::Load(*config, **checkpoint,
                                       {.arithmetic = options.arithmetic, .dropout = 0.1f}, ledger);
    EXPECT_THAT(loaded, IsOk());
    model = std::move(*loaded);
    auto made = Trainer::Create(model.get(), &batches, options, {&executor, &ledger});
    EXPECT_THAT(made, IsOk());
    trainer = std::move(*made);
  }

  // All parameters' values, by name.
  std::map<std::string, std::vector<float>> Parameters() const {
    std::map<std::string, std::vector<float>> values;
    for (const TrainableParameter& parameter : model->parameters().all()) {
      values[parameter.name] = Values(parameter);
    }
    return values;
  }
  // All moments' bytes, by name.
  std::map<std::string, std::vector<std::byte>> Moments() const {
    std::map<std::string, std::vector<std::byte>> moments;
    trainer->optimizer().Visit([&](const std::string& name, std::span<std::byte> bytes) {
      moments[name].assign(bytes.begin(), bytes.end());
    });
    return moments;
  }

  Executor executor{2};
  Ledger ledger;
  GivenBatches batches;
  std::unique_ptr<TrainableModel> model;
  std::unique_ptr<Trainer> trainer;
};

TrainingOptions Options(SchedulerKind scheduler, double rate = 0.8) {
  TrainingOptions options;
  options.learning_rate = 1e-3;
  options.schedule = Schedule::kConstant;
  options.epochs = 5;
  options.seed = 7;
  options.freezing.scheduler = scheduler;
  options.freezing.rate = rate;
  return options;
}

TrainingOptions Published(double rate = 0.8) {
  TrainingOptions options = Options(SchedulerKind::kSlimFit, rate);
  options.freezing = *Resolve(
      {.scheduler = SchedulerKind::kSlimFit, .recipe = FreezingRecipe::kPublished, .rate = rate});
  options.compression = Compression::kPublished;
  return options;
}

class LayerFreezingTest : public ::testing::TestWithParam<const char*> {};

// Check 2: the loss of a step is that of the same weights and masks whatever is frozen and however
// activations are held.
TEST_P(LayerFreezingTest, ForwardValuesAreExact) {
  Training full(GetParam(), Options(SchedulerKind::kFull));
  ASSERT_THAT(full.trainer->Step(), IsOk());
  const double loss = full.trainer->log().steps[0].loss;
  for (const Compression compression :
       {Compression::kNone, Compression::k8Bit, Compression::k4Bit, Compression::kPublished}) {
    for (const bool recompute : {false, true}) {
      for (const double rate : {0.0, 0.5, 0.95}) {
        TrainingOptions options = Options(SchedulerKind::kRandom, rate);
        options.compression = compression;
        options.gradient_checkpointing = recompute;
        Training run(GetParam(), options);
        ASSERT_THAT(run.trainer->Step(), IsOk());
        EXPECT_EQ(run.trainer->log().steps[0].loss, loss) << Name(compression) << rate;
      }
    }
  }
}

// Check 3: with exact activations, an active layer's gradient does not depend on what else is
// frozen. SGD without momentum shows the gradient as the change of the weight.
TEST_P(LayerFreezingTest, GradientsDoNotDependOnWhatElseIsFrozen) {
  TrainingOptions options = Options(SchedulerKind::kFull);
  options.optimizer.kind = OptimizerKind::kSgd;
  options.optimizer.momentum = 0;
  options.max_gradient_norm = 0;
  int active_layers = 0;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    options.freezing = Options(SchedulerKind::kRandom, 0.9).freezing;
    for (const bool recompute : {false, true}) {
      options.gradient_checkpointing = recompute;
      options.seed = seed;
      Training frozen(GetParam(), options);
      const auto before = frozen.Parameters();
      // The masks of dropout depend on the seed: compare with a full run of this seed.
      TrainingOptions reference = options;
      reference.freezing = Options(SchedulerKind::kFull).freezing;
      Training full_run(GetParam(), reference);
      ASSERT_THAT(full_run.trainer->Step(), IsOk());
      ASSERT_THAT(frozen.trainer->Step(), IsOk());
      for (const TrainableParameter& parameter : frozen.model->parameters().all()) {
        const auto& wanted = parameter.trains
                                 ? full_run.model->parameters().Find(parameter.name)->data()
                                 : before.at(parameter.name).data();
        EXPECT_EQ(std::memcmp(parameter.data(), wanted, 4 * parameter.elements()), 0)
            << parameter.name;
        active_layers += parameter.trains ? 1 : 0;
      }
    }
  }
  EXPECT_GT(active_layers, 0);
}

// The cosine of two gradients.
double Cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double product = 0, a_squares = 0, b_squares = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    product += static_cast<double>(a[i]) * b[i];
    a_squares += static_cast<double>(a[i]) * a[i];
    b_squares += static_cast<double>(b[i]) * b[i];
  }
  return product / std::sqrt(a_squares * b_squares);
}

// Check 7: how close the gradients of a step are to the exact ones if activations are compressed.
// SGD at the rate 1 shows a gradient as the change of its parameter.
class CompressionTest : public ::testing::TestWithParam<const char*> {};

TEST_P(CompressionTest, GradientsAreClose) {
  TrainingOptions options = Options(SchedulerKind::kFull);
  options.optimizer = {.kind = OptimizerKind::kSgd, .momentum = 0, .weight_decay = 0, .groups = {}};
  options.learning_rate = 1;
  options.max_gradient_norm = 0;
  const auto gradients = [&](Compression compression, bool recompute) {
    options.compression = compression;
    options.gradient_checkpointing = recompute;
    Training run(GetParam(), options);
    auto changes = run.Parameters();
    EXPECT_THAT(run.trainer->Step(), IsOk());
    for (auto& [name, values] : changes) {
      const float* const after = run.model->parameters().Find(name)->data();
      for (size_t i = 0; i < values.size(); ++i) values[i] -= after[i];
    }
    return changes;
  };
  const auto exact = gradients(Compression::kNone, false);
  for (const auto& [compression, recompute, lowest] : {std::tuple(Compression::k8Bit, false, 0.999),
                                                       {Compression::k8Bit, true, 0.999},
                                                       {Compression::k4Bit, false, 0.9},
                                                       {Compression::k4Bit, true, 0.9},
                                                       {Compression::kPublished, false, 0.8}}) {
    double least = 1, sum = 0;
    int count = 0;
    for (const auto& [name, gradient] : gradients(compression, recompute)) {
      const double cosine = Cosine(gradient, exact.at(name));
      if (std::isnan(cosine)) continue;  // a gradient of zeros
      // That of CRReLU's ε is a sum of terms of both signs, of which 4 bits are too coarse a copy.
      const bool is_epsilon = gradient.size() == 1 && name.ends_with("act.lr");
      if (is_epsilon && compression != Compression::k8Bit) continue;
      EXPECT_GT(cosine, lowest) << Name(compression) << " " << name;
      least = std::min(least, cosine);
      sum += cosine;
      ++count;
    }
    const std::string what = std::string(Name(compression)) + (recompute ? "_recompute" : "");
    RecordProperty("least_cosine_" + what, std::to_string(least));
    RecordProperty("mean_cosine_" + what, std::to_string(sum / count));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, CompressionTest,
                         ::testing::Values(kGpt2, kMamba, "deploy/models/gpt2-crrelu-demo",
                                           "deploy/models/mamba-demo"));

// Check 4, under the published recipe: a frozen weight and its moments keep every bit, and biases
// change in every step.
TEST_P(LayerFreezingTest, FrozenWeightsKeepEveryBitAndBiasesTrain) {
  Training run(GetParam(), Published());
  for (int step = 0; step < 12; ++step) {
    const auto values = run.Parameters();
    const auto moments = run.Moments();
    ASSERT_THAT(run.trainer->Step(), IsOk());
    const auto values_now = run.Parameters();
    const auto moments_now = run.Moments();
    for (const TrainableLayer& layer : run.model->parameters().layers()) {
      for (const TrainableParameter* parameter : layer.parameters) {
        const bool is_weight = parameter == layer.parameters.front();
        EXPECT_EQ(values_now.at(parameter->name) != values.at(parameter->name), parameter->trains)
            << parameter->name << " in step " << step;
        if (!is_weight) {
          EXPECT_TRUE(parameter->trains) << parameter->name;
        }
        for (const char* suffix : {".m", ".v"}) {
          const std::string name = parameter->name + suffix;
          if (parameter->trains || !moments.contains(name)) continue;
          EXPECT_EQ(moments_now.at(name), moments.at(name)) << name;
        }
      }
    }
  }
}

// Check 5, under the published recipe, with the scores made again from the weights.
TEST_P(LayerFreezingTest, ScoresAreTheMeanRelativeChange) {
  Training run(GetParam(), Published(0.7));
  std::map<std::string, double> distances;
  for (int step = 0; step < 10; ++step) {
    const auto before = run.Parameters();
    ASSERT_THAT(run.trainer->Step(), IsOk());
    const auto after = run.Parameters();
    for (const TrainableLayer& layer : run.model->parameters().layers()) {
      const TrainableParameter& weight = *layer.parameters.front();
      if (!weight.trains) continue;
      double sum = 0;
      for (int64_t i = 0; i < weight.elements(); ++i) {
        const double old = before.at(weight.name)[i];
        sum += std::abs((old - after.at(weight.name)[i]) / old);
      }
      distances[layer.name] = sum / static_cast<double>(weight.elements());
    }
    const nlohmann::json state = run.trainer->scheduler().State();
    for (size_t i = 0; i < run.trainer->freezing().layers().size(); ++i) {
      const std::string& name = run.trainer->freezing().layers()[i].name;
      const nlohmann::json& score = state["scores"][i];
      if (!distances.contains(name)) {
        EXPECT_FALSE(score.is_number()) << name;
      } else if (score.is_number()) {  // values of 0 make it infinite
        EXPECT_NEAR(score.get<double>(), distances[name], 1e-5 * distances[name]) << name;
      }
    }
  }
}

// Check 9: frozen products save no input and compute no gradient of their weight, and the backward
// pass ends at the lowest layer that trains.
TEST_P(LayerFreezingTest, FrozenLayersSaveAndComputeNothing) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    TrainingOptions options = Options(SchedulerKind::kRandom, 0.9);
    options.seed = seed;
    Training run(GetParam(), options);
    ASSERT_THAT(run.trainer->Step(), IsOk());
    int64_t products = 0;
    for (const TrainableLayer& layer : run.model->parameters().layers()) {
      const bool is_product = layer.input == TensorClass::kProductInput ||
                              layer.input == TensorClass::kInnerProductInput;
      if (!is_product || !layer.trains()) continue;
      ++products;
    }
    // A tied table that trains has the head's product too, once for each block of logits.
    const bool table_trains = run.model->parameters().all().front().trains;
    EXPECT_EQ(run.trainer->step_cost().weight_gradients, products + (table_trains ? 1 : 0));
  }
}

// Check 8: the bytes that each class of tensors should have at the end of the forward pass, by the
// formulas of docs/freezing.md.
class ExpectedBytes {
 public:
  ExpectedBytes(const TrainableModel& model, const StorePolicy& policy, int64_t T)
      : layers_(model.parameters().layers()),
        lowest_(model.parameters().LowestTrainingLayer()),
        policy_(policy),
        T_(T) {
    for (const TrainableLayer& layer : layers_) AddNorm(layer);
  }

  // A GPT-2 of width d, inner width F and H heads.
  void AddGpt2(int64_t blocks, int64_t d, int64_t F, int64_t H) {
    for (int64_t b = 0; b < blocks; ++b) {
      const std::string block = absl::StrCat("transformer.h.", b, ".");
      AddIf(Trains(block + "attn.c_attn"), TensorClass::kProductInput, d);
      const bool attention = GoesBelow(block + "attn.c_proj");
      AddIf(attention, TensorClass::kAttention, 3 * d);
      AddIf(attention, TensorClass::kAttentionOutput, d);
      AddIf(attention, TensorClass::kAttentionOutput, H);
      // The attention's output is one tensor for both of its uses, if both hold it as it is.
      const bool shared =
          attention && policy_.format(TensorClass::kAttentionOutput) == StoreFormat::kExact;
      AddIf(Trains(block + "attn.c_proj") && !shared, TensorClass::kProductInput, d);
      AddIf(Trains(block + "mlp.c_fc"), TensorClass::kProductInput, d);
      AddIf(GoesBelow(block + "mlp.c_proj"), TensorClass::kActivationInput, F);
      AddIf(Trains(block + "mlp.c_proj"), TensorClass::kInnerProductInput, F);
    }
  }

  // A Mamba of width d, inner width E, N states and rank R, whose sequences have `chunks` chunks.
  void AddMamba(int64_t blocks, int64_t d, int64_t E, int64_t N, int64_t R, int64_t chunks) {
    for (int64_t b = 0; b < blocks; ++b) {
      const std::string block = absl::StrCat("backbone.layers.", b, ".mixer.");
      const bool scan = GoesBelow(block + "out_proj");
      const bool exact = policy_.format(TensorClass::kScan) == StoreFormat::kExact;
      AddIf(Trains(block + "in_proj"), TensorClass::kProductInput, d);
      AddIf(scan, TensorClass::kConvolution, 2 * E);
      const bool x_proj = Trains(block + "x_proj"), dt_proj = Trains(block + "dt_proj");
      AddIf(x_proj, TensorClass::kInnerProductInput, E);
      // δ, B and C are one tensor, which counts as the input of dt_proj if that trains.
      AddIf(dt_proj, TensorClass::kProductInput, R + 2 * N);
      AddIf(scan && !dt_proj, TensorClass::kScanParameters, R + 2 * N);
      AddIf(scan && !(x_proj && exact), TensorClass::kScan, E);
      AddIf(scan, TensorClass::kScan, E);
      Add(scan ? chunks : 0, TensorClass::kScan, N * E);
      AddIf(Trains(block + "out_proj"), TensorClass::kInnerProductInput, E);
    }
  }

  int64_t of(TensorClass tensor_class) const { return bytes_[static_cast<int>(tensor_class)]; }

 private:
  int64_t Number(const std::string& name) const {
    return std::ranges::find(layers_, name, &TrainableLayer::name) - layers_.begin();
  }
  bool Trains(const std::string& name) const { return layers_[Number(name)].trains(); }
  bool GoesBelow(const std::string& name) const { return lowest_ < Number(name); }
  void AddNorm(const TrainableLayer& layer) {
    if (layer.input != TensorClass::kTrainingNormInput) return;
    AddIf(lowest_ <= Number(layer.name),
          layer.trains() ? TensorClass::kTrainingNormInput : TensorClass::kNormInput,
          layer.input_width);
    const TensorClass tensor_class =
        layer.trains() ? TensorClass::kTrainingNormInput : TensorClass::kNormInput;
    if (lowest_ > Number(layer.name) || policy_.format(tensor_class) != StoreFormat::kPruned)
      return;
    bytes_[static_cast<int>(tensor_class)] += (4 * T_ + 63) / 64 * 64;  // of the rows' deviations
  }
  void AddIf(bool saved, TensorClass tensor_class, int64_t columns) {
    Add(saved ? T_ : 0, tensor_class, columns);
  }
  void Add(int64_t rows, TensorClass tensor_class, int64_t columns) {
    const int64_t bytes = StoredBytes(policy_.format(tensor_class), rows, columns);
    bytes_[static_cast<int>(tensor_class)] += (bytes + 63) / 64 * 64;  // the heap's alignment
  }

  const std::vector<TrainableLayer>& layers_;
  const int64_t lowest_;
  const StorePolicy policy_;
  const int64_t T_;
  std::array<int64_t, kTensorClassCount> bytes_{};
};

TEST_P(LayerFreezingTest, TheLedgerEqualsTheFormulas) {
  const auto config =
      nlohmann::json::parse(*ReadTextFile(std::string(GetParam()) + "/config.json"));
  for (const Compression compression :
       {Compression::kNone, Compression::k8Bit, Compression::k4Bit, Compression::kPublished}) {
    for (uint64_t seed = 0; seed < 12; ++seed) {
      TrainingOptions options = Options(SchedulerKind::kRandom, seed < 6 ? 0.9 : 0.5);
      options.compression = compression;
      options.seed = seed;
      if (seed == 0) options.freezing = {};
      Training run(GetParam(), options);
      ASSERT_THAT(run.trainer->Step(), IsOk());
      constexpr int64_t kTokens = 4 * 48;
      ExpectedBytes expected(*run.model, options.store_policy(), kTokens);
      if (GetParam() == std::string(kGpt2)) {
        const int64_t d = config["n_embd"],
                      F = run.model->parameters().Find("transformer.h.0.mlp.c_fc.bias")->elements();
        expected.AddGpt2(config["n_layer"], d, F, config["n_head"]);
      } else {
        expected.AddMamba(config["num_hidden_layers"], config["hidden_size"],
                          config["intermediate_size"], config["state_size"],
                          config["time_step_rank"], /*chunks=*/4);
      }
      for (int i = 0; i < kTensorClassCount; ++i) {
        const auto tensor_class = static_cast<TensorClass>(i);
        if (tensor_class == TensorClass::kTransient || tensor_class == TensorClass::kGradient) {
          continue;
        }
        EXPECT_EQ(run.trainer->log().steps.back().class_bytes[i], expected.of(tensor_class))
            << Name(tensor_class) << " " << Name(compression) << " " << seed;
      }
    }
  }
}

TEST_P(LayerFreezingTest, TheBackwardPassEndsAtTheLowestLayerThatTrains) {
  TrainingOptions options = Options(SchedulerKind::kFull);
  Training full(GetParam(), options);
  ASSERT_THAT(full.trainer->Step(), IsOk());
  options.freezing = Options(SchedulerKind::kStaticTop, 0.999).freezing;
  Training top(GetParam(), options);
  ASSERT_THAT(top.trainer->Step(), IsOk());
  const auto saved = [](const Training& run) {
    int64_t bytes = 0;
    for (int i = 0; i < kTensorClassCount; ++i) {
      const auto tensor_class = static_cast<TensorClass>(i);
      if (tensor_class == TensorClass::kTransient || tensor_class == TensorClass::kGradient) {
        continue;
      }
      bytes += run.trainer->log().steps.back().class_bytes[i];
    }
    return bytes;
  };
  EXPECT_LT(4 * saved(top), saved(full));
  EXPECT_LT(top.trainer->step_cost().product_flops, 0.5 * full.trainer->step_cost().product_flops);
}

// Check 1: a rate of 0 is full fine-tuning.
TEST_P(LayerFreezingTest, ARateOfZeroFreezesNothing) {
  Training full(GetParam(), Options(SchedulerKind::kFull));
  Training none(GetParam(), Options(SchedulerKind::kSlimFit, 0));
  for (int step = 0; step < 6; ++step) {
    ASSERT_THAT(full.trainer->Step(), IsOk());
    ASSERT_THAT(none.trainer->Step(), IsOk());
  }
  EXPECT_EQ(none.Parameters(), full.Parameters());
}

// Check 12: a layer whose learning rate is 0 is not measured, unless the options say so.
TEST_P(LayerFreezingTest, ALayerAtRateZeroIsNotMeasured) {
  for (const bool refresh : {false, true}) {
    TrainingOptions options = Options(SchedulerKind::kSlimFit, 0);
    options.freezing.refresh_at_zero_rate = refresh;
    options.optimizer.groups = {{"*", 0, 0}};
    Training run(GetParam(), options);
    const nlohmann::json before = run.trainer->scheduler().State();
    ASSERT_THAT(run.trainer->Step(), IsOk());
    EXPECT_EQ(run.trainer->scheduler().State() == before, !refresh);
  }
}

// Clipping scales gradients, but not what schedulers see of them.
TEST_P(LayerFreezingTest, GradientNormsAreMeasuredBeforeClipping) {
  TrainingOptions options = Options(SchedulerKind::kSlimFit, 0);
  options.freezing.score = LayerScore::kGradientNorm;
  nlohmann::json states[2];
  for (const bool clips : {false, true}) {
    options.max_gradient_norm = clips ? 1e-3 : 0;
    Training run(GetParam(), options);
    ASSERT_THAT(run.trainer->Step(), IsOk());
    states[clips ? 1 : 0] = run.trainer->scheduler().State()["scores"];
  }
  for (size_t i = 0; i < states[0].size(); ++i) {
    const double free = states[0][i];
    EXPECT_NEAR(states[1][i].get<double>(), free, 1e-4 * free);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, LayerFreezingTest, ::testing::Values(kGpt2, kMamba));

}  // namespace
}  // namespace whipsnake::engine
