// Evaluations are compared with the objectives of training, which run other code on the same
// weights, and with the definitions of the scores.
#include "engine/finetune/task_evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/finetune/objective.h"
#include "engine/finetune/task_config.h"
#include "engine/models/config.h"
#include "engine/models/random_model.h"
#include "engine/quantize/quantize.h"
#include "tests/engine/fakes/fake_model.h"
#include "tests/engine/finetune/support.h"
#include "tests/engine/finetune/training_fixture.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;
using Code = absl::StatusCode;

const std::string kGoldens = "tests/goldens/training/";
constexpr int64_t kGoldenTokens = 96;

// A token for each printable ASCII character and one more.
std::vector<std::string> Characters() {
  std::vector<std::string> pieces;
  for (char c = ' '; c <= '~'; ++c) pieces.emplace_back(1, c);
  pieces.emplace_back("é");
  return pieces;
}

// Models run as they are served, and as they are trained.
class TaskEvaluationTest : public TrainingFixture {
 protected:
  std::unique_ptr<Model> LoadServed(const std::string& directory) {
    auto model = LoadModel(directory, {}, {.executor = &executor_, .ledger = &ledger_});
    EXPECT_THAT(model, IsOk());
    return *std::move(model);
  }

  std::unique_ptr<Dataset> OpenRows(const std::vector<json>& rows, const Tokenizer& tokenizer,
                                    DatasetOptions options) {
    std::string lines;
    for (const json& row : rows) absl::StrAppend(&lines, row.dump(), "\n");
    WriteBytes(directory_ / "rows.jsonl", lines);
    auto dataset =
        Dataset::Open(directory_ / "rows.jsonl", std::move(options), &tokenizer, &ledger_);
    EXPECT_THAT(dataset, IsOk());
    return *std::move(dataset);
  }

  // The rows of a golden's batches as text: one example is a list of token ids.
  std::vector<json> GoldenRows(const std::string& name, Task task) const {
    std::ifstream file(kGoldens + name + "/batch.json");
    std::vector<json> rows;
    const json golden = json::parse(file);
    for (const json& batch : golden["batches"]) {
      if (batch.contains("pairs")) {
        for (const json& pair : batch["pairs"]) rows.push_back(RowOf(pair, task));
        continue;
      }
      for (size_t i = 0; i < batch["sequences"].size(); ++i) {
        rows.push_back({{"text", Text(batch["sequences"][i])}, {"label", batch["labels"][i]}});
      }
    }
    return rows;
  }
  json RowOf(const json& pair, Task task) const {
    const std::string prompt = Text(pair["prompt"]);
    const std::string chosen = Text(pair["chosen"]), rejected = Text(pair["rejected"]);
    if (task == Task::kDpo) {
      return {{"prompt", prompt}, {"chosen", chosen}, {"rejected", rejected}};
    }
    return {{"prompt", prompt}, {"choices", {chosen, rejected, prompt}}, {"label", 1}};
  }
  std::string Text(const json& tokens) const {
    return characters_.Decode(tokens.get<std::vector<int32_t>>(), false);
  }

  std::unique_ptr<Dataset> OpenGolden(const std::string& name, Task task, int64_t max_length = 64) {
    DatasetOptions options{.task = task, .max_length = max_length, .end_of_text = 0};
    if (task == Task::kClassification)
      options.labels = *HeadLabels(ReadBytes(kGoldens + name + "/config.json"));
    return OpenRows(GoldenRows(name, task), characters_, std::move(options));
  }

  TrainingPass NewPass(const kernels::Context& context, ActivationStore& store) {
    return {.context = context, .heap = heap_.get(), .store = &store};
  }

  // Evaluates a model in training. `reference` may be null.
  Metrics Objectively(const std::string& directory, const std::string& reference,
                      const Dataset& dataset) {
    const auto model = Load(directory, {.dropout = 0.0f});
    const Task task = dataset.options().task;
    TrainingBatch batch;
    for (int64_t i = 0; i < dataset.size(); ++i) batch.examples.push_back(*dataset.Read(i));
    Metrics metrics;
    OnExecutor([&](const kernels::Context& context) {
      ActivationStore store(StorePolicy::Discard(), heap_.get());
      if (!reference.empty()) {
        const auto base = Load(reference, {.dropout = 0.0f});
        TrainingPass pass = NewPass(context, store);
        batch.reference = *ResponseLogProbabilities(pass, *base, batch.examples);
      }
      TrainingPass pass = NewPass(context, store);
      if (task == Task::kChoice) {
        const auto sums = ResponseLogProbabilities(pass, *model, batch.examples);
        AddChoices(batch.examples, *sums, metrics);
      } else {
        EXPECT_THAT(MakeObjective(task, {})->Run(pass, *model, batch, 1, metrics), IsOk());
      }
    });
    return metrics;
  }

  // The right choices, and the losses of a softmax over the mean log-probabilities.
  static void AddChoices(std::span<const Example> examples, std::span<const double> sums,
                         Metrics& metrics) {
    auto sum = sums.begin();
    for (const Example& example : examples) {
      std::vector<double> means;
      for (const std::vector<int32_t>& sequence : example.sequences) {
        means.push_back(*sum++ / static_cast<double>(std::ssize(sequence) - example.prompt_tokens));
      }
      double normalizer = 0;
      for (const double mean : means) normalizer += std::exp(mean);
      metrics.loss += std::log(normalizer) - means[example.label];
      metrics.correct += std::ranges::max_element(means) - means.begin() == example.label ? 1 : 0;
      metrics.tokens += example.tokens();
      ++metrics.targets;
    }
  }

  // A model that differs from the DPO golden's reference.
  std::string PolicyDirectory() {
    const std::filesystem::path path = directory_ / "policy";
    std::filesystem::create_directory(path);
    std::filesystem::copy(kGoldens + "dpo/config.json", path / "config.json");
    std::filesystem::copy(kGoldens + "dpo/policy.safetensors", path / "model.safetensors");
    return path;
  }

  TaskResult Evaluate(Model& model, const Dataset& dataset,
                      const TaskEvaluationOptions& options = {}) {
    const auto result = EvaluateTask(model, executor_, dataset, options);
    EXPECT_THAT(result, IsOk());
    return *result;
  }

  const TemporaryDirectory directory_;
  const FakeTokenizer characters_{Characters()};
  const std::unique_ptr<TensorHeap> heap_ = *TensorHeap::Create(&ledger_, int64_t{1} << 28);
};

TEST_F(TaskEvaluationTest, AgreesWithTheObjectivesOfTraining) {
  const std::pair<const char*, Task> cases[] = {{"classification", Task::kClassification},
                                                {"regression", Task::kRegression},
                                                {"dpo", Task::kChoice},
                                                {"mamba", Task::kChoice}};
  for (const auto& [name, task] : cases) {
    SCOPED_TRACE(testing::Message() << name << ", " << Name(task));
    const std::string rows = std::string(name) == "mamba" ? "dpo" : name;
    const auto dataset = OpenGolden(rows, task);
    const Metrics want = Objectively(kGoldens + name, "", *dataset);
    const auto model = LoadServed(kGoldens + name);
    for (const int64_t batch : {1, 7, 1000}) {
      const TaskResult result = Evaluate(*model, *dataset, {.batch = batch});
      EXPECT_EQ(result.examples, want.targets);
      EXPECT_EQ(result.tokens, want.tokens);
      EXPECT_NEAR(*result.loss, want.MeanLoss(), 1e-5 * want.MeanLoss());
      EXPECT_EQ(result.accuracy.has_value(), task != Task::kRegression);
      EXPECT_EQ(result.accuracy.value_or(want.Accuracy()), want.Accuracy());
      EXPECT_EQ(result.confusion.has_value(), task == Task::kClassification);
      EXPECT_EQ(result.errors.has_value(), task == Task::kRegression);
      EXPECT_FALSE(result.preferences);
    }
  }
}

TEST_F(TaskEvaluationTest, PreferencesAgreeWithTheObjectiveOfTraining) {
  const auto dataset = OpenGolden("dpo", Task::kDpo);
  const std::string policy = PolicyDirectory();
  const Metrics want = Objectively(policy, kGoldens + "dpo", *dataset);
  const auto model = LoadServed(policy), reference = LoadServed(kGoldens + "dpo");
  const TaskResult result =
      Evaluate(*model, *dataset, {.reference = reference.get(), .dpo_beta = 0.1f});
  EXPECT_NEAR(*result.loss, want.MeanLoss(), 1e-5);
  EXPECT_EQ(*result.accuracy, want.Accuracy());
  const auto& rewards = result.preferences->rewards;
  EXPECT_NEAR(rewards->chosen - rewards->rejected, want.MeanMargin(), 1e-5);

  // A model has no rewards relative to itself, and those relative to another one scale with β.
  const TaskResult same = Evaluate(*model, *dataset, {.reference = model.get()});
  EXPECT_DOUBLE_EQ(*same.loss, std::log(2));
  EXPECT_EQ(same.preferences->rewards->chosen, 0);
  const TaskResult twice =
      Evaluate(*model, *dataset, {.reference = reference.get(), .dpo_beta = 0.2f});
  EXPECT_NEAR(twice.preferences->rewards->chosen, 2 * rewards->chosen, 1e-6);
}

// Whether s is larger, and the mean s, from the logits of one sequence at a time.
TEST_F(TaskEvaluationTest, PreferencesWithoutAReferenceCompareLogProbabilities) {
  const auto dataset = OpenGolden("dpo", Task::kDpo);
  const auto model = LoadServed(kGoldens + "dpo");
  const auto score = [&](std::span<const int32_t> tokens, int64_t prompt) {
    const auto state = *model->NewState();
    const engine::Run run{tokens, state.get(), LogitsOf::kAll};
    const auto logits = *model->Forward({&run, 1});
    double sum = 0;
    for (int64_t i = prompt; i < std::ssize(tokens); ++i) {
      double total = 0;
      for (int64_t v = 0; v < kGoldenTokens; ++v) total += std::exp(logits.row(i - 1)[v]);
      sum += logits.row(i - 1)[tokens[i]] - std::log(total);
    }
    return sum;
  };
  double chosen = 0, rejected = 0, right = 0;
  const auto pairs = static_cast<double>(dataset->size());
  for (int64_t i = 0; i < dataset->size(); ++i) {
    const Example example = *dataset->Read(i);
    const double better = score(example.sequences[0], example.prompt_tokens);
    const double worse = score(example.sequences[1], example.prompt_tokens);
    chosen += better / pairs;
    rejected += worse / pairs;
    right += better > worse ? 1 / pairs : 0;
  }
  const TaskResult result = Evaluate(*model, *dataset);
  EXPECT_NEAR(*result.accuracy, right, 1e-12);
  EXPECT_NEAR(result.preferences->log_probabilities.chosen, chosen, 1e-4);
  EXPECT_NEAR(result.preferences->log_probabilities.rejected, rejected, 1e-4);
  EXPECT_FALSE(result.preferences->rewards);
  EXPECT_FALSE(result.loss);
}

// The fake model always expects the next letter, but the best token of all is padding.
TEST_F(TaskEvaluationTest, PaddingHasNoProbability) {
  FakeModel model(kGoldenTokens + 3);
  model.logits = [](std::span<const int32_t> history) {
    std::vector<float> row(kGoldenTokens + 3, 0.0f);
    row[history.back() + 1] = 5;
    row.back() = 100;
    return row;
  };
  const auto dataset = OpenRows({{{"prompt", "a"}, {"choices", {"bcd", "b"}}, {"label", 0}},
                                 {{"prompt", "a"}, {"choices", {"c", "bx"}}, {"label", 0}}},
                                characters_, {.task = Task::kChoice});
  const TaskResult result = Evaluate(model, *dataset, {.tokenizer_size = kGoldenTokens});
  // With equal means the first choice is taken, and then the longer text costs nothing.
  EXPECT_DOUBLE_EQ(*result.accuracy, 0.5);
  // The means of the second row differ by half of what "x" costs more.
  EXPECT_NEAR(*result.loss, (std::log(2) + std::log1p(std::exp(2.5))) / 2, 1e-5);
  const TaskResult padded = Evaluate(model, *dataset);
  EXPECT_NEAR(*padded.loss, *result.loss, 1e-5) << "padding lowers all means alike";
}

std::string SmallGpt2(bool classifier) {
  return absl::StrCat(R"({"model_type": "gpt2", "vocab_size": 300, "n_layer": 2, "n_embd": 48,
    "n_head": 3, "n_positions": 64, "initializer_range": 0.2, "eos_token_id": 0)",
                      classifier ? R"(, "architectures": ["GPT2ForSequenceClassification"],
    "id2label": {"0": "a", "1": "b", "2": "c"}})"
                                 : "}");
}

class QuantizedTaskEvaluationTest : public TaskEvaluationTest {
 protected:
  // Returns a random model with codes of 8 bits.
  std::unique_ptr<Model> MakeQuantized(const std::string& config) {
    const std::string source = directory_ / "float", out = directory_ / "quantized";
    std::filesystem::remove_all(source);
    std::filesystem::remove_all(out);
    EXPECT_THAT(WriteRandomModel(config, 1, source), IsOk());
    CalibrationSet calibration;
    calibration.digest = "test";
    for (int32_t i = 0; i < 10; ++i) calibration.samples.emplace_back(32, 20 * i + 1);
    calibration.held_out = {calibration.samples.back()};
    const auto parsed = ReadModelConfig(source);
    const auto recipe = ParseRecipe({}, &*parsed);
    EXPECT_THAT(QuantizeModel(source, calibration, {.recipe = *recipe, .percentile = {}}, out,
                              {.executor = &executor_, .ledger = &ledger_},
                              [](auto, auto) { return absl::OkStatus(); }),
                IsOk());
    return LoadServed(out);
  }

  std::vector<json> Rows(const std::vector<std::string>& labels) const {
    std::vector<json> rows;
    for (int i = 0; i < 20; ++i) {
      const std::string text = absl::StrCat("row ", i * i, std::string(i % 7, 'z'));
      rows.push_back(labels.empty()
                         ? json{{"prompt", text}, {"chosen", "yes"}, {"rejected", "not at all"}}
                         : json{{"text", text}, {"label", labels[i % labels.size()]}});
    }
    return rows;
  }

  const std::unique_ptr<Tokenizer> bytes_ = *Tokenizer::Parse(MakeByteLevelTokenizer(300));
};

// A quantized model's outputs do not depend on the batch.
TEST_F(QuantizedTaskEvaluationTest, IsTheSameForEveryBatch) {
  const auto classifier = MakeQuantized(SmallGpt2(true));
  EXPECT_EQ(Name(classifier->info().scheme), "w8a8");
  const std::vector<std::string> names = {"a", "b", "c"};
  const auto texts =
      OpenRows(Rows(names), *bytes_,
               {.task = Task::kClassification, .max_length = 64, .labels = *Labels::Make(names)});
  const TaskResult one = Evaluate(*classifier, *texts, {.batch = 1});
  Confusion confusion(3);
  for (int64_t i = 0; i < texts->size(); ++i) {
    const Example example = *texts->Read(i);
    const auto state = *classifier->NewState();
    const engine::Run run{example.sequences[0], state.get(), LogitsOf::kLast};
    const auto logits = *classifier->Forward({&run, 1});
    confusion.Add(
        example.label,
        static_cast<int32_t>(std::max_element(logits.row(0), logits.row(0) + 3) - logits.row(0)));
  }
  EXPECT_EQ(one.confusion->entries(), confusion.entries());
  const TaskResult many = Evaluate(*classifier, *texts, {.batch = 9, .max_logits_bytes = 200});
  EXPECT_EQ(many.confusion->entries(), confusion.entries());
  EXPECT_EQ(*many.loss, *one.loss);

  const auto model = MakeQuantized(SmallGpt2(false));
  const auto pairs =
      OpenRows(Rows({}), *bytes_, {.task = Task::kDpo, .max_length = 64, .end_of_text = 0});
  const TaskResult single = Evaluate(*model, *pairs, {.tokenizer_size = 300, .batch = 1});
  const TaskResult together =
      Evaluate(*model, *pairs, {.tokenizer_size = 300, .batch = 20, .max_logits_bytes = 20000});
  EXPECT_EQ(together.preferences->log_probabilities.chosen,
            single.preferences->log_probabilities.chosen);
  EXPECT_EQ(*together.accuracy, *single.accuracy);
  const TaskResult rewards = Evaluate(*model, *pairs, {.reference = model.get()});
  EXPECT_DOUBLE_EQ(*rewards.loss, std::log(2));
}

TEST_F(TaskEvaluationTest, RefusesModelsThatCannotDoTheTask) {
  ModelInfo info;
  EXPECT_THAT(CheckCanDo(Task::kClassification, info),
              Fails(Code::kFailedPrecondition, "whipsnake train --task classification"));
  EXPECT_THAT(CheckCanDo(Task::kRegression, info),
              Fails(Code::kFailedPrecondition, "whipsnake train --task regression"));
  EXPECT_THAT(CheckCanDo(Task::kChoice, info), IsOk());
  EXPECT_THAT(CheckCanDo(Task::kDpo, info), IsOk());
  EXPECT_THAT(CheckCanDo(Task::kCausalLm, info), Fails(Code::kInvalidArgument, "perplexity"));
  info.labels = 1;
  EXPECT_THAT(CheckCanDo(Task::kRegression, info), IsOk());
  EXPECT_THAT(CheckCanDo(Task::kClassification, info),
              Fails(Code::kFailedPrecondition, "with 1 output seen"));
  info.labels = 2;
  EXPECT_THAT(CheckCanDo(Task::kClassification, info), IsOk());
  for (const Task task : {Task::kRegression, Task::kChoice, Task::kDpo}) {
    EXPECT_THAT(CheckCanDo(task, info), Fails(Code::kFailedPrecondition, "with 2 outputs seen"));
  }
}

TEST_F(TaskEvaluationTest, RefusesDataAndOptionsThatDoNotFit) {
  FakeModel model(kGoldenTokens);
  model.before_forward = [](auto) { FAIL() << "something ran"; };
  const auto field = [&](const Dataset& dataset, const TaskEvaluationOptions& options) {
    const auto result = EvaluateTask(model, executor_, dataset, options);
    return FieldOf(result.status());
  };
  const auto pairs = OpenGolden("dpo", Task::kDpo);
  EXPECT_EQ(field(*pairs, {.batch = 0}), "batch");
  EXPECT_EQ(field(*pairs, {.dpo_beta = 0}), "dpo_beta");
  EXPECT_EQ(field(*pairs, {.dpo_beta = std::nan("")}), "dpo_beta");
  EXPECT_EQ(field(*pairs, {.tokenizer_size = 40}), "text") << "a token is unknown";
  const auto choices = OpenGolden("dpo", Task::kChoice);
  EXPECT_EQ(field(*choices, {.reference = &model}), "reference");
  FakeModel reference(kGoldenTokens);
  reference.mutable_info().max_positions = 10;
  EXPECT_EQ(field(*pairs, {.reference = &reference}), "max_length");
  reference.mutable_info().labels = 2;
  EXPECT_THAT(EvaluateTask(model, executor_, *pairs, {.reference = &reference}),
              Fails(Code::kFailedPrecondition, "the reference model: "));
  model.mutable_info().max_positions = 10;
  EXPECT_EQ(field(*pairs, {}), "max_length");

  model.mutable_info().max_positions = 0;
  model.mutable_info().labels = 2;
  EXPECT_EQ(field(*OpenGolden("classification", Task::kClassification), {}), "labels");
  const auto bad = OpenRows({{{"text", "a"}}}, characters_, {.task = Task::kClassification});
  EXPECT_THAT(EvaluateTask(model, executor_, *bad, {}),
              Fails(Code::kInvalidArgument, "bad rows: 1 of 1"));
  const auto none = OpenRows({}, characters_, {.task = Task::kClassification});
  EXPECT_THAT(EvaluateTask(model, executor_, *none, {}), Fails(Code::kInvalidArgument, "no rows"));
}

TEST_F(TaskEvaluationTest, ProgressRisesToOneAndCanStopIt) {
  const auto dataset = OpenGolden("dpo", Task::kDpo);
  const auto model = LoadServed(kGoldens + "dpo");
  std::vector<double> seen;
  ASSERT_THAT(EvaluateTask(*model, executor_, *dataset, {},
                           [&](std::string_view, double fraction) {
                             seen.push_back(fraction);
                             return absl::OkStatus();
                           }),
              IsOk());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_GT(seen.size(), 2u);
  EXPECT_EQ(seen.back(), 1);
  EXPECT_THAT(EvaluateTask(*model, executor_, *dataset, {},
                           [](auto, auto) { return absl::CancelledError("enough"); }),
              Fails(Code::kCancelled, "enough"));
}

}  // namespace
}  // namespace whipsnake::engine
