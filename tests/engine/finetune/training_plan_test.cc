// Plans against runs, settings for a budget, rates, and the published memory. That plans of the
// models of training_goldens_test.cc are true is tested in slimfit_test.cc.
#include "engine/finetune/plan/training_plan.h"

#include <sys/resource.h>

#include <fstream>
#include <functional>

#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/finetune/fine_tuning.h"
#include "engine/finetune/plan/measure_rates.h"
#include "engine/finetune/plan/memory_budget.h"
#include "engine/finetune/plan/published_memory.h"
#include "engine/models/family.h"
#include "tests/engine/finetune/training_fixture.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

ModelConfig Parsed(const json& config) {
  auto parsed = ParseModelConfig(config.dump());
  EXPECT_THAT(parsed, IsOk());
  return *std::move(parsed);
}

ModelConfig Gpt2(int64_t width, int64_t layers, const char* activation = "gelu_new") {
  return Parsed({{"model_type", "gpt2"},
                 {"architectures", {"GPT2LMHeadModel"}},
                 {"vocab_size", 211},
                 {"n_positions", 128},
                 {"n_embd", width},
                 {"n_layer", layers},
                 {"n_head", 2},
                 {"activation_function", activation},
                 {"eos_token_id", 0}});
}

ModelConfig Mamba(int64_t width, int64_t layers) {
  return Parsed({{"model_type", "mamba"},
                 {"architectures", {"MambaForCausalLM"}},
                 {"vocab_size", 211},
                 {"hidden_size", width},
                 {"intermediate_size", 2 * width},
                 {"state_size", 8},
                 {"num_hidden_layers", layers},
                 {"layer_norm_epsilon", 1e-5},
                 {"expand", 2},
                 {"conv_kernel", 4},
                 {"use_bias", false},
                 {"use_conv_bias", true},
                 {"hidden_act", "silu"},
                 {"time_step_rank", 4},
                 {"tie_word_embeddings", true},
                 {"eos_token_id", 0}});
}

TrainingBatch BatchOf(const std::vector<int64_t>& lengths) {
  TrainingBatch batch;
  for (const int64_t length : lengths) {
    std::vector<int32_t>& tokens = batch.examples.emplace_back().sequences.emplace_back();
    for (int64_t t = 0; t < length; ++t) {
      tokens.push_back(static_cast<int32_t>((7919 * t + 31 * length) % 211));
    }
  }
  return batch;
}

// Batches of given lengths. The largest has the longest sequences of all, as that of a data set.
class BatchesOfLengths : public BatchSource {
 public:
  explicit BatchesOfLengths(std::vector<std::vector<int64_t>> lengths)
      : lengths_(std::move(lengths)) {}
  int64_t batches() const override { return std::ssize(lengths_); }
  TrainingBatch Largest() const override {
    std::vector<int64_t> all;
    for (const auto& batch : lengths_) all.insert(all.end(), batch.begin(), batch.end());
    std::ranges::sort(all, std::greater());
    all.resize(lengths_.front().size());
    return BatchOf(all);
  }
  absl::StatusOr<TrainingBatch> Read(int64_t /*epoch*/, int64_t index) override {
    return BatchOf(lengths_[index]);
  }

 private:
  const std::vector<std::vector<int64_t>> lengths_;
};

TrainingOptions Options(SchedulerKind scheduler = SchedulerKind::kFull, double rate = 0.8) {
  TrainingOptions options;
  options.learning_rate = 1e-3;
  options.max_steps = 8;
  options.epochs = 100;
  options.freezing.scheduler = scheduler;
  options.freezing.rate = rate;
  return options;
}

PlannedRun RunOf(const ModelConfig& config, const TrainingOptions& options,
                 const BatchSource& batches) {
  PlannedRun run;
  run.config = &config;
  run.options = options;
  run.training = batches.Largest();
  run.batches_per_epoch = batches.batches();
  return run;
}

std::string Text(const ModelConfig& config, const TrainingOptions& options) {
  return absl::StrCat(ToAbsl(config.family->name), " ", config.parameters, " ",
                      ToJson(options).dump());
}

// The most bytes that the ledger counts in a run, which begins with an evaluation if there is a
// batch for it.
int64_t PeakOfRun(const ModelConfig& config, const TrainingOptions& options, BatchSource& batches,
                  const std::vector<int64_t>& evaluation = {}) {
  Executor executor(2);
  Ledger ledger;
  auto model =
      TrainableModel::Fresh(config, {.arithmetic = options.arithmetic, .dropout = 0.1f}, ledger);
  EXPECT_THAT(model, IsOk());
  auto trainer = Trainer::Create(model->get(), &batches, options, {&executor, &ledger});
  EXPECT_THAT(trainer, IsOk());
  if (!evaluation.empty()) {
    BatchesOfLengths evaluation_batches({evaluation});
    EXPECT_THAT((*trainer)->Evaluate(evaluation_batches), IsOk());
  }
  while (!(*trainer)->done()) {
    const absl::Status status = (*trainer)->Step();
    EXPECT_THAT(status, IsOk()) << Text(config, options);
    if (!status.ok()) break;
  }
  return ledger.peak();
}

// Options that differ in everything that takes memory.
TrainingOptions RandomOptions(std::mt19937& random) {
  const auto choose = [&](auto... values) {
    const std::common_type_t<decltype(values)...> all[] = {values...};
    return all[random() % sizeof...(values)];
  };
  TrainingOptions options =
      Options(choose(SchedulerKind::kFull, SchedulerKind::kStaticTop, SchedulerKind::kRandom,
                     SchedulerKind::kRoundRobin, SchedulerKind::kSlimFit, SchedulerKind::kLisa,
                     SchedulerKind::kBAdam, SchedulerKind::kMisa),
              choose(0.3, 0.5, 0.8, 0.95));
  options.optimizer.moments = choose(MomentKind::kKeep, MomentKind::k8Bit, MomentKind::kDrop);
  options.compression =
      choose(Compression::kNone, Compression::k8Bit, Compression::k4Bit, Compression::kPublished);
  options.gradient_checkpointing = choose(false, true);
  options.update_in_backward = choose(false, true);
  if (options.update_in_backward) options.max_gradient_norm = 0;
  options.micro_batch = choose(0, 0, 4);
  options.batch_size = 8;
  options.arithmetic = choose(kernels::DType::kF32, kernels::DType::kBF16);
  options.freezing.train_biases = choose(false, true);
  options.seed = random();
  return options;
}

// Activations take several of the heap's steps of 2 MiB.
ModelConfig RandomConfig(std::mt19937& random) {
  const int64_t width = random() % 2 == 0 ? 48 : 96;
  const auto layers = static_cast<int64_t>(2 + random() % 4);
  if (random() % 2 == 0) return Mamba(width, layers);
  return Gpt2(width, layers, random() % 2 == 0 ? "gelu_new" : "crrelu");
}

// Exactly, or within what the plan says if measures choose the layers.
TEST(TrainingPlanTest, EqualsTheLedgerOverAGrid) {
  std::mt19937 random(1);
  double worst = 0;
  for (int i = 0; i < 60; ++i) {
    const ModelConfig config = RandomConfig(random);
    const TrainingOptions options = RandomOptions(random);
    const std::vector<int64_t> lengths(8, 48 + 40 * static_cast<int64_t>(random() % 3));
    BatchesOfLengths batches({lengths, lengths, lengths});
    const auto plan = PlanTraining(RunOf(config, options, batches));
    ASSERT_THAT(plan, IsOk());
    const int64_t peak = PeakOfRun(config, options, batches);
    EXPECT_LE(std::abs(plan->peak_bytes - peak), plan->uncertain_bytes) << Text(config, options);
    worst = std::max(
        worst, std::abs(static_cast<double>(plan->peak_bytes - peak) / static_cast<double>(peak)));
  }
  RecordProperty("worst_relative_error", std::to_string(worst));
}

// BAdam draws its last blocks late in a run, and their moments are the last of its memory.
TEST(TrainingPlanTest, EqualsTheLedgerOfALongRun) {
  const ModelConfig config = Gpt2(16, 8);
  BatchesOfLengths batches({{4, 4}});
  for (const MomentKind moments : {MomentKind::kKeep, MomentKind::kDrop}) {
    TrainingOptions options = Options(SchedulerKind::kBAdam);
    options.epochs = 1e6;
    options.max_steps = 1000;
    options.batch_size = 2;
    options.freezing.switch_every = 100;
    options.optimizer.moments = moments;
    const auto plan = PlanTraining(RunOf(config, options, batches));
    ASSERT_THAT(plan, IsOk());
    EXPECT_EQ(plan->uncertain_bytes, 0);
    EXPECT_EQ(plan->peak_bytes, PeakOfRun(config, options, batches)) << Name(moments);
  }
}

// A run with more steps than are planned has the moments of every layer.
TEST(TrainingPlanTest, CoversStepsThatAreNotPlanned) {
  const ModelConfig config = Gpt2(16, 8);
  BatchesOfLengths batches({{4, 4}});
  TrainingOptions options = Options(SchedulerKind::kBAdam);
  options.epochs = 1e6;
  options.max_steps = 1'000'000;
  options.freezing.switch_every = 10'000;
  const auto plan = PlanTraining(RunOf(config, options, batches));
  const auto full = PlanTraining(RunOf(config, Options(), batches));
  EXPECT_GT(plan->uncertain_bytes, 0);
  EXPECT_EQ(plan->memory.moments, full->memory.moments);
}

// Unit by unit, as bytes make large layers rarer. The random measures of a plan prefer no layer.
TEST(TrainingPlanTest, EveryLayerIsActiveAboutEquallyOften) {
  const ModelConfig config = Gpt2(16, 4);
  BatchesOfLengths batches({{4, 4}});
  TrainingOptions options = Options(SchedulerKind::kSlimFit, 0.9);
  options.freezing.unit = FreezingUnit::kLayers;
  options.max_steps = 1000;
  options.epochs = 1e6;
  Ledger ledger(/*limit=*/0, kernels::Device::kCpu, Ledger::Backing::kNone);
  const auto model = TrainableModel::WithoutValues(config, {}, {}, ledger);
  ASSERT_THAT(model, IsOk());
  const auto trainer = Trainer::Create(model->get(), &batches, options, {nullptr, &ledger});
  ASSERT_THAT(trainer, IsOk());
  std::vector<double> active((*trainer)->freezing().layers().size());
  while (!(*trainer)->done()) {
    ASSERT_THAT((*trainer)->Step(), IsOk());
    for (size_t i = 0; i < active.size(); ++i) active[i] += (*trainer)->freezing().active()[i];
  }
  EXPECT_LT(std::ranges::max(active), 2 * std::ranges::min(active))
      << ::testing::PrintToString(active);
}

TEST(TrainingPlanTest, CoversRaggedBatches) {
  std::mt19937 random(2);
  for (int i = 0; i < 30; ++i) {
    const ModelConfig config = RandomConfig(random);
    const TrainingOptions options = RandomOptions(random);
    std::vector<std::vector<int64_t>> lengths(3, std::vector<int64_t>(8));
    for (auto& batch : lengths) {
      for (int64_t& length : batch) length = static_cast<int64_t>(2 + random() % 120);
    }
    BatchesOfLengths batches(lengths);
    const auto plan = PlanTraining(RunOf(config, options, batches));
    ASSERT_THAT(plan, IsOk());
    EXPECT_GE(plan->sufficient_bytes(), PeakOfRun(config, options, batches))
        << Text(config, options);
  }
}

TEST(TrainingPlanTest, CountsEvaluationsAndWhatIsHeld) {
  const ModelConfig config = Gpt2(32, 2);
  const std::vector<int64_t> lengths(2, 16), evaluation(64, 128);
  BatchesOfLengths batches({lengths});
  PlannedRun run = RunOf(config, Options(), batches);
  const int64_t without = PlanTraining(run)->peak_bytes;
  EXPECT_EQ(without, PeakOfRun(config, Options(), batches));
  run.evaluation = BatchOf(evaluation);
  const int64_t with = PlanTraining(run)->peak_bytes;
  EXPECT_GT(with, without);
  EXPECT_EQ(with, PeakOfRun(config, Options(), batches, evaluation));
  run.held_bytes = 12345;
  EXPECT_EQ(PlanTraining(run)->peak_bytes, with + 12345);
}

TEST(TrainingPlanTest, SaysWhatAStepDoes) {
  const ModelConfig config = Gpt2(32, 2);
  BatchesOfLengths batches({std::vector<int64_t>(4, 16), std::vector<int64_t>(4, 16)});
  TrainingOptions options = Options();
  options.epochs = 3;
  options.max_steps = 0;
  const auto full = PlanTraining(RunOf(config, options, batches));
  EXPECT_EQ(full->steps, 6);
  EXPECT_EQ(full->tokens, 64);
  EXPECT_EQ(full->active_layers, full->layers);
  options.freezing = Options(SchedulerKind::kRandom, 0.9).freezing;
  const auto frozen = PlanTraining(RunOf(config, options, batches));
  EXPECT_LT(frozen->active_layers, 0.5 * static_cast<double>(frozen->layers));
  EXPECT_LT(frozen->cost.product_flops, full->cost.product_flops);
  EXPECT_LT(frozen->peak_bytes, full->peak_bytes);
}

int64_t HighestResidentBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

TEST(TrainingPlanTest, TakesNoMemory) {
  const auto text = ReadTextFile("tests/configs/mamba-2.8b.json");
  ASSERT_THAT(text, IsOk());
  const auto config = ParseModelConfig(*text);
  ASSERT_THAT(config, IsOk());
  BatchesOfLengths batches({std::vector<int64_t>(8, 1024)});
  const int64_t before = HighestResidentBytes();
  const auto plan = PlanTraining(RunOf(*config, Options(), batches));
  ASSERT_THAT(plan, IsOk());
  EXPECT_GT(plan->peak_bytes, int64_t{16} * 2'700'000'000);
  EXPECT_LT(HighestResidentBytes() - before, 64 << 20);
}

// A job of a demonstration model on a few texts.
class PlannedJobTest : public ::testing::Test {
 protected:
  PlannedJobTest() {
    const std::string texts = ::testing::TempDir() + "/planned_texts.jsonl";
    std::ofstream file(texts);
    for (int i = 0; i < 64; ++i)
      file << R"({"text": "adder boa coil fang scale slither"})"
           << "\n";
    spec_.model = "deploy/models/gpt2-crrelu-demo";
    spec_.training_file = texts;
    spec_.out = ::testing::TempDir() + "/" +
                ::testing::UnitTest::GetInstance()->current_test_info()->name();
    spec_.max_length = 64;
    spec_.training.max_steps = 2;
  }

  FineTuningSpec spec_;
  TrainingObserver observer_;
  Executor executor_{2};
};

TEST_F(PlannedJobTest, IsRefusedBeforeItTakesMemory) {
  Ledger ledger(int64_t{50} << 20);
  const auto job = FineTuning::Prepare(spec_, {&executor_, &ledger}, &observer_);
  ASSERT_THAT(job, IsOk());
  const auto plan = (*job)->Plan();
  ASSERT_THAT(plan, IsOk());
  EXPECT_GT(plan->peak_bytes, ledger.limit());
  const absl::Status status = (*job)->Run().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("the training run: needs"), std::string::npos) << status;
  EXPECT_NE(status.message().find("memory_budget"), std::string::npos) << status;
  EXPECT_LT(ledger.peak(), 1 << 20);
}

TEST_F(PlannedJobTest, ReportsItsPlanAndKeepsItsBudget) {
  spec_.memory_budget = int64_t{60} << 20;
  Ledger ledger(spec_.memory_budget);
  const auto job = FineTuning::Prepare(spec_, {&executor_, &ledger}, &observer_);
  ASSERT_THAT(job, IsOk());
  const auto report = (*job)->Run();
  ASSERT_THAT(report, IsOk());
  EXPECT_LE(report->peak_bytes, spec_.memory_budget);
  EXPECT_NEAR(
      static_cast<double>(report->planned_peak_bytes) / static_cast<double>(report->peak_bytes), 1,
      0.02);
  EXPECT_NE(ToJson(report->options), ToJson(spec_.training));
}

TEST_F(PlannedJobTest, IsAdmittedWithTheMarginOfItsPlan) {
  spec_.training.freezing = Options(SchedulerKind::kSlimFit).freezing;
  Ledger unlimited;
  const auto job = FineTuning::Prepare(spec_, {&executor_, &unlimited}, &observer_);
  ASSERT_THAT(job, IsOk());
  const auto plan = (*job)->Plan();
  ASSERT_THAT(plan, IsOk());
  EXPECT_GT(plan->uncertain_bytes, 0);
  for (const int64_t missing : {1, 0}) {
    Ledger ledger(plan->sufficient_bytes() - missing);
    const auto limited = FineTuning::Prepare(spec_, {&executor_, &ledger}, &observer_);
    ASSERT_THAT(limited, IsOk());
    EXPECT_EQ((*limited)->Run().ok(), missing == 0);
  }
}

// The ledger may have less than the budget.
TEST_F(PlannedJobTest, ChoosesForTheLedgerToo) {
  spec_.memory_budget = int64_t{1} << 40;
  Ledger ledger(int64_t{60} << 20);
  const auto job = FineTuning::Prepare(spec_, {&executor_, &ledger}, &observer_);
  ASSERT_THAT(job, IsOk());
  const auto settings = (*job)->PlanSettings();
  ASSERT_THAT(settings, IsOk());
  EXPECT_LE(settings->chosen.plan.sufficient_bytes(), ledger.limit());
  const auto report = (*job)->Run();
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(ToJson(report->options), ToJson(settings->chosen.options));
}

class MemoryBudgetTest : public ::testing::Test {
 protected:
  std::vector<Candidate> Candidates(const TrainingOptions& options,
                                    const GivenSettings& given = {}) {
    auto candidates = PlanCandidates(RunOf(config_, options, batches_), given);
    EXPECT_THAT(candidates, IsOk());
    return *std::move(candidates);
  }

  const ModelConfig config_ = Gpt2(64, 4);
  BatchesOfLengths batches_{{std::vector<int64_t>(16, 128)}};
};

TEST_F(MemoryBudgetTest, TakesTheFirstCandidateThatFits) {
  TrainingOptions options = Options();
  options.max_gradient_norm = 0;
  const std::vector<Candidate> candidates = Candidates(options);
  EXPECT_EQ(std::ssize(candidates), 23);
  EXPECT_EQ(ToJson(candidates.front().options), ToJson(options));
  int64_t largest = 0, smallest = std::numeric_limits<int64_t>::max();
  for (const Candidate& candidate : candidates) {
    largest = std::max(largest, candidate.plan.sufficient_bytes());
    smallest = std::min(smallest, candidate.plan.sufficient_bytes());
  }
  const Candidate* before = &candidates.back();
  for (int64_t budget = smallest; budget <= largest + 100000; budget += 100000) {
    const auto fit = FitToBudget(candidates, budget);
    ASSERT_THAT(fit, IsOk());
    EXPECT_LE((*fit)->plan.sufficient_bytes(), budget);
    EXPECT_LE(*fit, before) << "more memory, a worse choice";
    for (const Candidate* skipped = candidates.data(); skipped < *fit; ++skipped) {
      EXPECT_GT(skipped->plan.sufficient_bytes(), budget);
    }
    before = *fit;
  }
  EXPECT_EQ(before, &candidates.front());

  const absl::Status refused = FitToBudget(candidates, smallest - 1).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(FieldOf(refused), "memory_budget");
  EXPECT_NE(refused.message().find(absl::StrCat("at least ", smallest)), std::string::npos)
      << refused;
  EXPECT_NE(refused.message().find("with full, compression 8bit"), std::string::npos) << refused;
}

TEST_F(MemoryBudgetTest, ExactSettingsComeFirst) {
  TrainingOptions options = Options();
  options.max_gradient_norm = 0;
  bool freezes = false, rounds = false, compresses = false;
  for (const Candidate& candidate : Candidates(options)) {
    const bool frozen = candidate.options.freezing.scheduler != SchedulerKind::kFull;
    const bool rounded = candidate.options.optimizer.moments != MomentKind::kKeep;
    const bool compressed = candidate.options.compression != Compression::kNone;
    EXPECT_TRUE(frozen || !freezes);
    EXPECT_TRUE(rounded || !rounds);
    EXPECT_TRUE(compressed || !compresses);
    EXPECT_TRUE(compressed || !frozen);
    freezes |= frozen;
    rounds |= rounded;
    compresses |= compressed;
  }
}

TEST_F(MemoryBudgetTest, TheRateOfAGivenSchedulerRises) {
  for (const SchedulerKind scheduler : {SchedulerKind::kSlimFit, SchedulerKind::kRandom}) {
    double rate = 0.5;
    for (const Candidate& candidate :
         Candidates(Options(scheduler, 0.9), {.scheduler = true, .moments = true})) {
      EXPECT_GE(candidate.options.freezing.rate, rate);
      rate = candidate.options.freezing.rate;
    }
    EXPECT_EQ(rate, 0.95);
    EXPECT_EQ(Candidates(Options(scheduler, 0.9), {.scheduler = true})[0].options.freezing.rate,
              0.5);
  }
}

TEST_F(MemoryBudgetTest, WhatIsGivenStays) {
  TrainingOptions options = Options(SchedulerKind::kLisa, 0.7);
  for (const Candidate& candidate : Candidates(options, {.scheduler = true, .rate = true})) {
    EXPECT_EQ(ToJson(candidate.options.freezing), ToJson(options.freezing));
  }
  options.optimizer.moments = MomentKind::kKeep;
  const GivenSettings all = {.scheduler = true,
                             .rate = true,
                             .compression = true,
                             .checkpointing = true,
                             .moments = true,
                             .update_in_backward = true};
  EXPECT_EQ(std::ssize(Candidates(options, all)), 1);
  options = Options();
  for (const Candidate& candidate : Candidates(options, {.checkpointing = true})) {
    EXPECT_FALSE(candidate.options.gradient_checkpointing);
  }
  for (const Candidate& candidate : Candidates(options, {.compression = true})) {
    EXPECT_EQ(candidate.options.compression, Compression::kNone);
  }
  std::vector<double> rates;
  for (const Candidate& candidate :
       Candidates(Options(SchedulerKind::kRandom), {.scheduler = true})) {
    EXPECT_EQ(candidate.options.freezing.scheduler, SchedulerKind::kRandom);
    rates.push_back(candidate.options.freezing.rate);
  }
  EXPECT_THAT(rates, ::testing::Contains(0.95));
}

TEST_F(MemoryBudgetTest, CandidatesAreValid) {
  TrainingOptions clipped = Options();
  TrainingOptions sgd = Options();
  sgd.optimizer.kind = OptimizerKind::kSgd;
  TrainingOptions drifting = Options(SchedulerKind::kSlimFit);
  drifting.freezing.legacy_drift = true;
  for (const TrainingOptions& options : {clipped, sgd, drifting}) {
    const bool given = options.freezing.scheduler != SchedulerKind::kFull;
    const std::vector<Candidate> candidates = Candidates(options, {.scheduler = given});
    EXPECT_GT(std::ssize(candidates), 3);
    for (const Candidate& candidate : candidates) {
      EXPECT_THAT(Validate(candidate.options), IsOk());
      EXPECT_FALSE(candidate.options.update_in_backward);
      EXPECT_EQ(candidate.options.max_gradient_norm, 1);
    }
  }
}

TEST(ComputeRatesTest, AddUp) {
  const ComputeRates rates{
      .product_flops = 10, .attention_flops = 5, .scan_elements = 2, .bytes = 100};
  EXPECT_EQ(EstimateSeconds({}, rates), 0);
  EXPECT_EQ(EstimateSeconds({.product_flops = 20,
                             .attention_flops = 5,
                             .scan_elements = 6,
                             .bytes = 50,
                             .weight_gradients = 3},
                            rates),
            2 + 1 + 3 + 0.5);
}

TEST(ComputeRatesTest, AreMeasured) {
  Executor executor(2);
  for (const auto arithmetic : {kernels::DType::kF32, kernels::DType::kBF16}) {
    const ComputeRates rates = MeasureRates(
        executor, {.sequences = 3, .length = 17, .width = 96, .arithmetic = arithmetic});
    for (const double rate :
         {rates.product_flops, rates.attention_flops, rates.scan_elements, rates.bytes}) {
      EXPECT_GT(rate, 1e3);
      EXPECT_LT(rate, 1e15);
    }
  }
}

TEST(ComputeRatesTest, ShapesAreThoseOfTheRun) {
  const ModelConfig config = Gpt2(64, 1);
  const auto shape_of = [&](const std::vector<int64_t>& lengths) {
    BatchesOfLengths batches({lengths});
    return RateShape::Of(RunOf(config, Options(), batches));
  };
  RateShape shape = shape_of({20, 20, 20});
  EXPECT_EQ(shape.sequences, 3);
  EXPECT_EQ(shape.length, 20);
  EXPECT_EQ(shape.width, 64);
  shape = shape_of({2});
  EXPECT_EQ(shape.sequences * shape.length, 2);
  shape = shape_of({3000, 3000});
  EXPECT_EQ(shape.sequences * shape.length, 1024);
}

// Check 10: the table of the specification. Expected: baseline, floor and SlimFit in GB, and the
// ratio of the first to the last.
TEST(PublishedMemoryTest, ReproducesTheTable) {
  const double expected[][4] = {{3.17, 0.44, 0.51, 6.2}, {3.17, 0.44, 0.58, 5.5},
                                {3.17, 0.44, 0.70, 4.5}, {54.4, 7.1, 10.2, 5.3},
                                {4.43, 0.56, 0.76, 5.9}, {4.43, 0.56, 1.05, 4.2},
                                {68.1, 10.6, 11.8, 5.8}};
  const double units[] = {12.6, 12.6, 12.6, 151, 19.4, 19.4, 227};
  const double score_sizes[] = {2, 2, 2, 6, 3.08, 3.08, 9.02};
  const int64_t active[] = {6, 11, 21, 21, 10, 25, 5};
  ASSERT_EQ(PublishedSetups().size(), std::size(expected));
  for (size_t i = 0; i < std::size(expected); ++i) {
    const PublishedMemory memory = PublishedMemoryOf(PublishedSetups()[i]);
    const double values[] = {memory.baseline / 1e9, memory.floor / 1e9, memory.slimfit / 1e9,
                             memory.baseline / memory.slimfit};
    for (size_t k = 0; k < 4; ++k) {
      EXPECT_NEAR(values[k] / expected[i][k], 1, 0.05) << i << " " << k;
    }
    EXPECT_NEAR(memory.unit / 1e6 / units[i], 1, 0.01);
    EXPECT_NEAR(memory.score_size, score_sizes[i], 0.01);
    EXPECT_EQ(memory.active_layers, active[i]);
  }
}

// The paper's abstract: total memory 2.2 times less on average, and up to 3.1 times.
TEST(PublishedMemoryTest, TotalsHaveWeightsGradientsAndMoments) {
  // bert-base-cased with two labels, and ViT-B/16 of 384 x 384 pixels with 1000.
  EXPECT_EQ(PublishedSetups()[0].parameters, 108'311'810);
  EXPECT_EQ(PublishedSetups()[6].parameters, 86'859'496);
  for (const PublishedSetup& setup : PublishedSetups()) {
    const PublishedMemory memory = PublishedMemoryOf(setup);
    EXPECT_EQ(memory.baseline_total - memory.baseline,
              16.0 * static_cast<double>(setup.parameters));
    EXPECT_GT(memory.slimfit_total - memory.slimfit, 12.0 * static_cast<double>(setup.parameters));
    EXPECT_LT(memory.baseline_total / memory.slimfit_total, memory.baseline / memory.slimfit);
  }
}

// The documentation has the table that the arithmetic gives.
TEST(PublishedMemoryTest, IsInTheDocumentation) {
  const auto docs = ReadTextFile("docs/freezing.md");
  ASSERT_THAT(docs, IsOk());
  const std::string table = PublishedMemoryTable();
  EXPECT_NE(docs->find(table), std::string::npos) << table;
}

}  // namespace
}  // namespace whipsnake::engine
