// Properties of training that hold for every model: what must not change the result, and what must
// be refused.
#include "engine/finetune/trainer.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>
#include <thread>

#include "engine/finetune/dpo_loss.h"
#include "engine/models/model.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/workspace.h"
#include "tests/engine/base/ticking_clock.h"
#include "tests/engine/finetune/training_fixture.h"

namespace whipsnake::engine {
namespace {

using ::testing::HasSubstr;

constexpr const char* kGpt2 = "tests/goldens/training/crrelu";
constexpr const char* kMamba = "tests/goldens/training/mamba";

// Batches of ragged sequences of random tokens.
std::vector<TrainingBatch> RandomBatches(int count, int examples, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TrainingBatch> batches(count);
  for (TrainingBatch& batch : batches) {
    for (int i = 0; i < examples; ++i) {
      std::vector<int32_t>& tokens = batch.examples.emplace_back().sequences.emplace_back();
      const int length = 2 + static_cast<int>(random() % 60);
      for (int t = 0; t < length; ++t) tokens.push_back(static_cast<int32_t>(random() % 90));
    }
  }
  return batches;
}

// All parameters, one after another.
std::vector<float> ParametersOf(TrainableModel& model) {
  std::vector<float> all;
  for (const TrainableParameter& parameter : model.parameters().all()) {
    all.insert(all.end(), parameter.data(), parameter.data() + parameter.elements());
  }
  return all;
}

double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(a[i] - b[i], 2);
    norm += std::pow(b[i], 2);
  }
  return std::sqrt(difference / norm);
}

struct Trained {
  std::vector<float> parameters;
  RunLog log;
  TrainingMemory memory;
};

TrainingOptions Options() {
  TrainingOptions options;
  options.learning_rate = 1e-3;
  options.epochs = 2;
  options.seed = 7;
  options.max_gradient_norm = 0;
  return options;
}

// A unit that uses the whole team and leaves nothing of its scratch memory as it was.
void OverwriteScratch(const kernels::Context& context) {
  constexpr int64_t kBytes = 1 << 16;
  std::memset(kernels::OperationScratch(context).Get<char>(kBytes), 0xff, kBytes);
  kernels::ForEachShare(context, [](const kernels::Context& own, int64_t) {
    std::memset(kernels::OperationScratch(own).Get<char>(kBytes), 0xff, kBytes);
  });
}

// Serves, with several units waiting at a time, until it is destroyed. The first one is done when
// it has been made.
class ServingLoad {
 public:
  explicit ServingLoad(Executor& executor) {
    for (int i = 0; i < 8; ++i) {
      const Priority priority = i % 2 == 0 ? Priority::kDecode : Priority::kPrefill;
      threads_.emplace_back([this, &executor, priority] {
        while (!done_) executor.Run(priority, OverwriteScratch);
      });
    }
    executor.Run(Priority::kDecode, OverwriteScratch);
  }
  ~ServingLoad() {
    done_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  std::atomic<bool> done_{false};
  std::vector<std::thread> threads_;
};

class TrainerTest : public ::testing::TestWithParam<const char*> {
 protected:
  static Trained Train(const TrainingOptions& options, int threads = 2,
                       std::optional<float> dropout = 0.1f) {
    return TrainOn(GetParam(), options, threads, dropout);
  }
  static absl::Status TrainStatus(const TrainingOptions& options) {
    Executor executor(1);
    Ledger ledger;
    const auto config = ReadModelConfig(GetParam());
    const auto checkpoint = Checkpoint::Open(GetParam());
    const auto model = TrainableModel::Load(*config, **checkpoint, {}, ledger);
    GivenBatches batches(RandomBatches(1, 1, 1));
    return Trainer::Create(model->get(), &batches, options, {&executor, &ledger}).status();
  }
  static Trained TrainOn(const std::string& directory, const TrainingOptions& options, int threads,
                         std::optional<float> dropout) {
    Executor executor(threads);
    return TrainOn(directory, options, executor, dropout);
  }
  static Trained TrainOn(const std::string& directory, const TrainingOptions& options,
                         Executor& executor, std::optional<float> dropout) {
    Ledger ledger;
    const auto config = ReadModelConfig(directory);
    const auto checkpoint = Checkpoint::Open(directory);
    auto model = TrainableModel::Load(
        *config, **checkpoint, {.arithmetic = options.arithmetic, .dropout = dropout}, ledger);
    EXPECT_THAT(model, IsOk());
    GivenBatches batches(RandomBatches(4, 6, 1));
    const auto trainer = Trainer::Create(model->get(), &batches, options, {&executor, &ledger});
    EXPECT_THAT(trainer, IsOk());
    while (!(*trainer)->done()) EXPECT_THAT((*trainer)->Step(), IsOk());
    return {ParametersOf(**model), (*trainer)->log(), (*trainer)->memory()};
  }
};

TEST_P(TrainerTest, ResultsDoNotDependOnTheNumberOfThreads) {
  const Trained one = Train(Options(), 1);
  for (const int threads : {2, 3}) {
    const Trained run = Train(Options(), threads);
    EXPECT_EQ(run.parameters, one.parameters) << threads;
    for (size_t i = 0; i < one.log.steps.size(); ++i) {
      EXPECT_EQ(run.log.steps[i].loss, one.log.steps[i].loss);
      EXPECT_EQ(run.log.steps[i].gradient_norm, one.log.steps[i].gradient_norm);
    }
  }
}

// More urgent units run between the layers of a training step, on the same team and workspace.
TEST_P(TrainerTest, ResultsDoNotDependOnWhatIsServedBeside) {
  const Trained alone = Train(Options());
  Executor executor(2);
  Ledger ledger;
  const auto config = ReadModelConfig(GetParam());
  const auto checkpoint = Checkpoint::Open(GetParam());
  const auto model = TrainableModel::Load(*config, **checkpoint, {.dropout = 0.1f}, ledger);
  const auto served = LoadModel(GetParam(), {}, {.executor = &executor, .ledger = &ledger});
  GivenBatches batches(RandomBatches(4, 6, 1));
  const auto trainer = Trainer::Create(model->get(), &batches, Options(), {&executor, &ledger});
  std::atomic<bool> done{false};
  std::atomic<int64_t> passes{0};
  std::thread serving([&] {
    const std::vector<int32_t> tokens(20, 3);
    while (!done) {
      const auto state = (*served)->NewState();
      const engine::Run run{tokens, state->get(), LogitsOf::kLast};
      EXPECT_THAT((*served)->Forward(std::span(&run, 1)), IsOk());
      ++passes;
    }
  });
  while (!(*trainer)->done()) {
    const int64_t before = passes;
    ASSERT_THAT((*trainer)->Step(), IsOk());
    while (passes == before) std::this_thread::yield();
  }
  done = true;
  serving.join();
  EXPECT_EQ(ParametersOf(**model), alone.parameters);
}

// Bit for bit, at every share and wherever operations are cut into pieces.
TEST_P(TrainerTest, ResultsDependNeitherOnTheShareNorOnThePieces) {
  for (const bool compressed : {false, true}) {
    TrainingOptions options = Options();
    options.max_gradient_norm = 1;
    options.max_steps = 2;
    if (compressed) {
      options.compression = Compression::kPublished;
      options.optimizer.moments = MomentKind::k8Bit;
      options.arithmetic = kernels::DType::kBF16;
    }
    const Trained alone = Train(options);
    for (const double share : {0.05, 0.5}) {
      TickingClock clock;
      Executor executor(2, {.training_share = share,
                            .training_piece = std::chrono::microseconds(20),
                            .clock = &clock});
      std::optional<ServingLoad> load(std::in_place, executor);
      const Trained beside = TrainOn(GetParam(), options, executor, 0.1f);
      load.reset();
      EXPECT_EQ(beside.parameters, alone.parameters) << share;
      ASSERT_EQ(beside.log.steps.size(), alone.log.steps.size());
      for (size_t i = 0; i < alone.log.steps.size(); ++i) {
        EXPECT_EQ(beside.log.steps[i].loss, alone.log.steps[i].loss);
        EXPECT_EQ(beside.log.steps[i].gradient_norm, alone.log.steps[i].gradient_norm);
      }
      EXPECT_GT(executor.serving_time().count(), 0);
      EXPECT_GT(executor.training_time().count(), 0);
    }
  }
}

TEST_P(TrainerTest, RecomputingBlocksChangesNothingButMemory) {
  TrainingOptions options = Options();
  const Trained kept = Train(options);
  options.gradient_checkpointing = true;
  const Trained recomputed = Train(options);
  EXPECT_EQ(recomputed.parameters, kept.parameters);
}

TEST_P(TrainerTest, UpdatingInTheBackwardPassChangesNothingButMemory) {
  TrainingOptions options = Options();
  for (const int64_t micro_batch : {0, 2}) {
    options.micro_batch = micro_batch;
    options.update_in_backward = false;
    const Trained after = Train(options);
    options.update_in_backward = true;
    const Trained during = Train(options);
    EXPECT_EQ(during.parameters, after.parameters) << micro_batch;
    EXPECT_LT(during.memory.gradients, after.memory.gradients + 1);
    EXPECT_FALSE(during.log.steps.back().gradient_norm.has_value());
  }
}

TEST_P(TrainerTest, MicroBatchesGiveTheSameStepButForRounding) {
  TrainingOptions options = Options();
  options.optimizer = {.kind = OptimizerKind::kSgd, .momentum = 0.9, .groups = {}};
  const Trained whole = Train(options, 2, 0.0f);
  for (const int64_t micro_batch : {1, 2, 4, 5}) {
    options.micro_batch = micro_batch;
    const Trained split = Train(options, 2, 0.0f);
    EXPECT_LE(Distance(split.parameters, whole.parameters), 1e-6) << micro_batch;
    for (size_t i = 0; i < whole.log.steps.size(); ++i) {
      EXPECT_NEAR(split.log.steps[i].loss, whole.log.steps[i].loss, 1e-5);
      EXPECT_EQ(split.log.steps[i].tokens, whole.log.steps[i].tokens);
    }
  }
}

TEST_P(TrainerTest, Bf16ProductsStayCloseToFp32) {
  TrainingOptions options = Options();
  options.optimizer.kind = OptimizerKind::kSgd;
  const Trained fp32 = Train(options, 2, 0.0f);
  options.arithmetic = kernels::DType::kBF16;
  const Trained bf16 = Train(options, 2, 0.0f);
  EXPECT_NE(bf16.parameters, fp32.parameters);
  EXPECT_LE(Distance(bf16.parameters, fp32.parameters), 1e-3);
  EXPECT_NEAR(bf16.log.steps.back().loss, fp32.log.steps.back().loss, 0.02);
}

TEST_P(TrainerTest, ClippingScalesAllGradients) {
  TrainingOptions options = Options();
  options.optimizer = {.kind = OptimizerKind::kSgd, .momentum = 0, .weight_decay = 0, .groups = {}};
  options.schedule = Schedule::kConstant;
  options.max_steps = 1;
  const Trained free = Train(options, 2, 0.0f);
  const double norm = *free.log.steps[0].gradient_norm;
  options.max_gradient_norm = norm / 4;
  const Trained clipped = Train(options, 2, 0.0f);
  options.max_gradient_norm = 0;
  options.learning_rate /= 4;
  const Trained slower = Train(options, 2, 0.0f);
  EXPECT_LE(Distance(clipped.parameters, slower.parameters), 1e-6);
  EXPECT_EQ(clipped.log.steps[0].gradient_norm, norm);
}

TEST_P(TrainerTest, FrozenParametersStayAndTheOthersTrainAsBefore) {
  TrainingOptions options = Options();
  options.max_steps = 1;
  const Trained all = Train(options);
  for (const char* pattern : {"*.weight", "*.bias", "*.1.*", "*embeddings.weight", "*wpe.weight"}) {
    options.freeze = {pattern};
    Executor executor(2);
    Ledger ledger;
    const auto config = ReadModelConfig(GetParam());
    const auto checkpoint = Checkpoint::Open(GetParam());
    const auto model = TrainableModel::Load(*config, **checkpoint, {.dropout = 0.1f}, ledger);
    const std::vector<float> before = ParametersOf(**model);
    GivenBatches batches(RandomBatches(4, 6, 1));
    const auto trainer = Trainer::Create(model->get(), &batches, options, {&executor, &ledger});
    if (!trainer.ok()) {  // the pattern is of the other family
      EXPECT_THAT(trainer, Fails(absl::StatusCode::kInvalidArgument, "freeze"));
      continue;
    }
    ASSERT_THAT((*trainer)->Step(), IsOk());
    size_t at = 0;
    for (const TrainableParameter& parameter : (*model)->parameters().all()) {
      const std::vector<float>& want = parameter.trains ? all.parameters : before;
      EXPECT_EQ(std::memcmp(parameter.data(), want.data() + at, parameter.value.size()), 0)
          << pattern << " " << parameter.name;
      at += parameter.elements();
    }
  }
  options.freeze = {"*"};
  EXPECT_THAT(TrainStatus(options), Fails(absl::StatusCode::kInvalidArgument, "freeze"));
}

// The training forward pass has the values of inference.
TEST_P(TrainerTest, LossesAreThoseOfTheInferenceModel) {
  Executor executor(2);
  Ledger ledger;
  const auto inference = LoadModel(GetParam(), {}, {.executor = &executor, .ledger = &ledger});
  ASSERT_THAT(inference, IsOk());
  const auto config = ReadModelConfig(GetParam());
  const auto checkpoint = Checkpoint::Open(GetParam());
  const auto model = TrainableModel::Load(*config, **checkpoint, {}, ledger);
  const std::vector<TrainingBatch> batches = RandomBatches(1, 5, 3);
  double sum = 0;
  int64_t count = 0;
  for (const Example& example : batches[0].examples) {
    const std::vector<int32_t>& tokens = example.sequences[0];
    const auto state = (*inference)->NewState();
    const engine::Run run{tokens, state->get(), LogitsOf::kAll};
    const auto logits = (*inference)->Forward(std::span(&run, 1));
    ASSERT_THAT(logits, IsOk());
    for (size_t t = 0; t + 1 < tokens.size(); ++t) {
      const float* row = logits->row(static_cast<int64_t>(t));
      double normalizer = 0;
      for (int64_t v = 0; v < logits->cols; ++v)
        normalizer += std::exp(static_cast<double>(row[v]));
      sum += std::log(normalizer) - row[tokens[t + 1]];
      ++count;
    }
  }
  GivenBatches given(batches);
  TrainingOptions options = Options();
  const auto trainer = Trainer::Create(model->get(), &given, options, {&executor, &ledger});
  ASSERT_THAT((*trainer)->Evaluate(given), IsOk());
  const EvaluationRecord& record = (*trainer)->log().evaluations.back();
  EXPECT_EQ(record.targets, count);
  EXPECT_NEAR(record.loss, sum / static_cast<double>(count), 1e-5);
}

TEST_P(TrainerTest, ALossThatIsNotFiniteNamesStepAndLayer) {
  Executor executor(2);
  Ledger ledger;
  const auto config = ReadModelConfig(GetParam());
  const auto checkpoint = Checkpoint::Open(GetParam());
  const auto model = TrainableModel::Load(*config, **checkpoint, {}, ledger);
  GivenBatches batches(RandomBatches(4, 6, 1));
  const auto trainer = Trainer::Create(model->get(), &batches, Options(), {&executor, &ledger});
  ASSERT_THAT((*trainer)->Step(), IsOk());
  TrainableParameter& last = (*model)->parameters().all().back();
  last.data()[0] = std::nanf("");
  EXPECT_THAT((*trainer)->Step(), Fails(absl::StatusCode::kOutOfRange, "step 2"));
  EXPECT_THAT((*trainer)->Step(), Fails(absl::StatusCode::kOutOfRange, last.name));
  EXPECT_EQ((*trainer)->step(), 1);
  EXPECT_THAT((*trainer)->Evaluate(batches),
              Fails(absl::StatusCode::kOutOfRange, "evaluation after step 1"));
}

TEST_P(TrainerTest, RefusesTokensAndSequencesThatTheModelDoesNotHave) {
  Executor executor(2);
  Ledger ledger;
  const auto config = ReadModelConfig(GetParam());
  const auto checkpoint = Checkpoint::Open(GetParam());
  const auto model = TrainableModel::Load(*config, **checkpoint, {}, ledger);
  const auto step = [&](std::vector<int32_t> tokens) {
    std::vector<TrainingBatch> batches(1);
    batches[0].examples.emplace_back().sequences.push_back(std::move(tokens));
    GivenBatches given(batches);
    const auto trainer = Trainer::Create(model->get(), &given, Options(), {&executor, &ledger});
    return (*trainer)->Step();
  };
  EXPECT_THAT(step({1, 96, 2}), Fails(absl::StatusCode::kInvalidArgument, "96"));
  EXPECT_THAT(step({1, -1, 2}), Fails(absl::StatusCode::kInvalidArgument, "-1"));
  if (config->max_positions > 0) {
    EXPECT_THAT(step(std::vector<int32_t>(config->max_positions + 1, 1)),
                Fails(absl::StatusCode::kInvalidArgument, "positions"));
  }
}

TEST_P(TrainerTest, MemoryIsBookedAndGivenBack) {
  Executor executor(2);
  Ledger ledger;
  const auto config = ReadModelConfig(GetParam());
  const auto checkpoint = Checkpoint::Open(GetParam());
  {
    const auto model = TrainableModel::Load(*config, **checkpoint, {}, ledger);
    EXPECT_EQ(ledger.used(Purpose::kWeights), config->parameters * 4);
    GivenBatches batches(RandomBatches(4, 6, 1));
    const auto trainer = Trainer::Create(model->get(), &batches, Options(), {&executor, &ledger});
    EXPECT_EQ(ledger.used(Purpose::kOptimizer), 0) << "moments are made by the first update";
    ASSERT_THAT((*trainer)->Step(), IsOk());
    EXPECT_EQ(ledger.used(Purpose::kOptimizer), config->parameters * 8);
    EXPECT_EQ(ledger.used(Purpose::kActivations), (*trainer)->memory().activations);
    EXPECT_GE((*trainer)->memory().gradients, config->parameters * 4);
  }
  EXPECT_EQ(ledger.used(), 0);
}

TEST_P(TrainerTest, TooLittleMemoryIsAnErrorBeforeAnythingChanges) {
  Executor executor(2);
  const auto config = ReadModelConfig(GetParam());
  const auto checkpoint = Checkpoint::Open(GetParam());
  Ledger ledger(config->parameters * 4 + (int64_t{1} << 20));  // not enough for a step
  const auto model = TrainableModel::Load(*config, **checkpoint, {}, ledger);
  ASSERT_THAT(model, IsOk());
  const std::vector<float> before = ParametersOf(**model);
  GivenBatches batches(RandomBatches(1, 64, 1));
  const auto trainer = Trainer::Create(model->get(), &batches, Options(), {&executor, &ledger});
  ASSERT_THAT(trainer, IsOk());
  EXPECT_THAT((*trainer)->Step(), Fails(absl::StatusCode::kResourceExhausted, "bytes"));
  EXPECT_EQ(ParametersOf(**model), before);
}

// Checks 10 and 11 for CRReLU's publication: values of DPO's loss, and that ε trains.
TEST(DpoLossTest, HasThePublishedFormula) {
  const DpoLoss equal = ComputeDpoLoss({-3, -5, -3, -5}, 0.1);
  EXPECT_NEAR(equal.loss, std::log(2), 1e-12);
  EXPECT_EQ(equal.margin, 0);
  const DpoPair pair{
      .chosen = -10, .rejected = -12, .reference_chosen = -11, .reference_rejected = -11.5};
  EXPECT_NEAR(ComputeDpoLoss(pair, 0.1).loss, 0.620957, 1e-6);
  EXPECT_NEAR(ComputeDpoLoss(pair, 0.1).derivative, -0.046257, 1e-6);
  EXPECT_NEAR(ComputeDpoLoss(pair, 1).loss, 0.201413, 1e-6);
  EXPECT_NEAR(ComputeDpoLoss(pair, 1).derivative, -0.182426, 1e-6);
  EXPECT_EQ(ComputeDpoLoss({1e6, 0, 0, 0}, 1).loss, 0);
  EXPECT_EQ(ComputeDpoLoss({0, 1e6, 0, 0}, 1).loss, 1e6);
}

TEST_F(TrainingFixture, CRReLUsEpsilonTrains) {
  const auto model = Load(kGpt2);
  GivenBatches batches(RandomBatches(4, 6, 1));
  const TrainableParameter& epsilon = *model->parameters().Find("transformer.h.0.mlp.act.lr");
  const float before = *epsilon.data();
  const auto trainer = Trainer::Create(model.get(), &batches, Options(), {&executor_, &ledger_});
  ASSERT_THAT((*trainer)->Step(), IsOk());
  EXPECT_NE(*epsilon.data(), before);
}

INSTANTIATE_TEST_SUITE_P(, TrainerTest, ::testing::Values(kGpt2, kMamba), [](const auto& model) {
  return std::string(model.param).substr(std::string(model.param).rfind('/') + 1);
});

}  // namespace
}  // namespace whipsnake::engine
