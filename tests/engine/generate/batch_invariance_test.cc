// A request's tokens depend neither on the other requests of a batch nor on earlier computation.
// With a quantized model, recurrent or transformer, they are equal bit for bit (check 12 of the
// specification of Quamba). With float models, whose products differ with the size of the batch,
// log-probabilities agree within 2e-4, and tokens are equal unless the two best differ by less.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <semaphore>
#include <string>
#include <vector>

#include "engine/generate/generator.h"
#include "engine/quantize/quantize.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/quantize/support.h"

namespace whipsnake::engine {
namespace {

// One request and its result.
struct Answer {
  std::counting_semaphore<> ready{0};
  std::shared_ptr<GenerationStream> stream;
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
  std::vector<float> leads;  // the best logprob minus the second
  bool ended = false;
  Finished finished;

  void Take() {
    const GenerationStream::Event event = stream->Take();
    for (const Delta& delta : event.deltas) {
      if (delta.index != 0) continue;
      ids.insert(ids.end(), delta.token_ids.begin(), delta.token_ids.end());
      for (const SampledToken& token : delta.logprobs) {
        logprobs.push_back(token.logprob);
        leads.push_back(token.top[0].logprob - token.top[1].logprob);
      }
    }
    if (event.done) {
      EXPECT_TRUE(event.status.ok()) << event.status;
      finished = event.finished;
      ended = true;
    }
  }
  void Wait() {
    while (!ended) {
      ready.acquire();
      Take();
    }
  }
};

struct Case {
  const char* name;
  bool transformer;
  std::optional<RecipeOptions> recipe;  // none: fp32
  kernels::DType state = kernels::DType::kF32;
};

constexpr const char* kTransformer = R"({"model_type": "gpt2", "vocab_size": 300, "n_layer": 2,
    "n_embd": 48, "n_head": 3, "n_positions": 200, "activation_function": "crrelu",
    "initializer_range": 0.2, "crrelu_epsilon_init": 0.5})";

class BatchInvarianceTest : public testing::TestWithParam<Case> {
 protected:
  bool exact() const { return GetParam().recipe.has_value(); }

  void SetUp() override {
    const std::string source = RandomModel(GetParam().transformer ? kTransformer : SmallConfig());
    const ModelEnvironment environment{.executor = &executor_, .ledger = &ledger_};
    std::string directory = source;
    if (exact()) {
      directory = FreshDirectory("quantized");
      const auto recipe = ParseRecipe(*GetParam().recipe);
      ASSERT_TRUE(recipe.ok()) << recipe.status();
      const QuantizeOptions options{.recipe = *recipe, .percentile = AnyPercentile(*recipe)};
      const auto report =
          QuantizeModel(source, SmallCalibration(), options, directory, environment, Silent);
      ASSERT_TRUE(report.ok()) << report.status();
    }
    auto model = LoadModel(directory, {.state_type = GetParam().state}, environment);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    auto tokenizer = Tokenizer::Load(source + "/tokenizer.json");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }

  static constexpr int kRequests = 64;

  // Prompts differ in length. Half of the requests are sampled, but none with float models, where a
  // draw may fall on the border between two tokens.
  GenerationRequest Request(int index) const {
    GenerationRequest request;
    request.prompt = RandomTokens(1 + index * 37 % 150, 300, 1000 + index);
    request.sampling.temperature = index % 2 == 0 || !exact() ? 0.0f : 1.0f;
    request.sampling.seed = index;
    request.max_new_tokens = 8 + index % 9;
    request.top_logprobs = 2;
    return request;
  }

  std::unique_ptr<Generator> Make(const BatcherOptions& batching) {
    return *MakeGenerator(model_.get(), tokenizer_.get(),
                          {.batching = batching, .executor = &executor_}, nullptr);
  }

  void Submit(Generator& generator, GenerationRequest request, Answer& answer) {
    auto stream = generator.Submit(std::move(request), [&answer] { answer.ready.release(); });
    ASSERT_TRUE(stream.ok()) << stream.status();
    answer.stream = *std::move(stream);
  }

  // Runs each request alone, with its prompt in one piece.
  std::vector<Answer> Alone() {
    const auto generator = Make({.max_running = 1, .prefill_chunk_tokens = 1024});
    std::vector<Answer> answers(kRequests);
    for (int i = 0; i < kRequests; ++i) {
      Submit(*generator, Request(i), answers[i]);
      answers[i].Wait();
    }
    return answers;
  }

  void ExpectSame(const Answer& alone, const Answer& answer, int index) const {
    if (exact()) {
      EXPECT_EQ(answer.ids, alone.ids) << index;
      EXPECT_EQ(answer.logprobs, alone.logprobs) << index;
      return;
    }
    constexpr float kTolerance = 2e-4f;
    ASSERT_EQ(answer.ids.size(), alone.ids.size()) << index;
    for (size_t i = 0; i < alone.ids.size(); ++i) {
      EXPECT_NEAR(answer.logprobs[i], alone.logprobs[i], kTolerance) << index << ", token " << i;
      if (answer.ids[i] == alone.ids[i]) continue;
      EXPECT_LT(alone.leads[i], kTolerance) << index << ", token " << i;
      return;  // from here on the texts differ
    }
  }

  void ExpectSame(const std::vector<Answer>& alone, std::vector<Answer>& answers) const {
    for (int i = 0; i < kRequests; ++i) {
      answers[i].Wait();
      ExpectSame(alone[i], answers[i], i);
    }
  }

  Executor executor_{2};
  Ledger ledger_{int64_t{1} << 30};
  std::unique_ptr<Model> model_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(BatchInvarianceTest, TheSameTokensAloneAndInABatchOf64) {
  const std::vector<Answer> alone = Alone();
  for (const int64_t chunk : {1, 7, 64}) {
    const auto generator = Make({.prefill_chunk_tokens = 3 * chunk, .mixed_chunk_tokens = chunk});
    std::vector<Answer> answers(kRequests);
    for (int i = 0; i < kRequests; ++i) Submit(*generator, Request(i), answers[i]);
    ExpectSame(alone, answers);
  }
}

TEST_P(BatchInvarianceTest, TheSameTokensWhenUrgentOnesTakeTheirPlaces) {
  const std::vector<Answer> alone = Alone();
  const auto generator = Make({.max_running = 4, .prefill_chunk_tokens = 16});
  std::vector<Answer> answers(kRequests);
  // The least urgent come first, so that later ones take their places.
  for (int i = 0; i < kRequests; ++i) {
    GenerationRequest request = Request(i);
    request.priority = static_cast<RequestPriority>(2 - i * 3 / kRequests);
    Submit(*generator, std::move(request), answers[i]);
  }
  ExpectSame(alone, answers);
}

// The cache holds states of other requests and of this one's own past; completions are forked from
// copies.
TEST_P(BatchInvarianceTest, TheSameTokensFromTheCacheFromASavedStateAndForked) {
  const std::vector<Answer> alone = Alone();
  const auto generator = Make({});
  const auto with_cache = *MakeGenerator(
      model_.get(), tokenizer_.get(),
      {.batching = {.prefill_chunk_tokens = 16}, .cache = {.interval_tokens = 16}}, nullptr);
  for (int i = 0; i < kRequests; ++i) {
    // Twice, so that the second turn finds what the first has cached.
    for (int turn = 0; turn < 2; ++turn) {
      Answer cached;
      Submit(*with_cache, Request(i), cached);
      cached.Wait();
      ExpectSame(alone[i], cached, i);
      if (turn == 0) continue;
      const int64_t expected = (std::ssize(Request(i).prompt) - 1) / 16 * 16;
      EXPECT_GE(cached.finished.usage.cached_prompt_tokens, expected) << i;
    }
    // Reads half of the prompt, saves the state, restores it and continues.
    GenerationRequest read = Request(i);
    read.prompt.resize(1 + read.prompt.size() / 2);
    read.max_new_tokens = 0;
    read.save_state = true;
    Answer half;
    Submit(*generator, read, half);
    half.Wait();
    SavedState saved = *half.finished.completions[0].state;
    std::vector<std::byte> bytes(saved.state->saved_bytes());
    EXPECT_TRUE(saved.state->Save(bytes).ok());
    auto restored = model_->RestoreState(saved.state->position(), bytes);
    ASSERT_TRUE(restored.ok()) << restored.status();
    saved.state = *std::move(restored);
    GenerationRequest rest = Request(i);
    rest.resume = std::make_shared<SavedState>(saved);
    Answer resumed;
    Submit(*generator, rest, resumed);
    resumed.Wait();
    ExpectSame(alone[i], resumed, i);
    // The first of several completions equals the single one.
    GenerationRequest several = Request(i);
    several.completions = 3;
    Answer forked;
    Submit(*generator, several, forked);
    forked.Wait();
    ExpectSame(alone[i], forked, i);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Schemes, BatchInvarianceTest,
    testing::Values(Case{"quamba", false, RecipeOptions{}},
                    Case{"quamba_bf16_state", false, RecipeOptions{}, kernels::DType::kBF16},
                    Case{"quamba_int8_state", false, RecipeOptions{}, kernels::DType::kI8},
                    Case{"quamba_bf16_head", false, RecipeOptions{.head = "bf16"}},
                    Case{"fp32", false, std::nullopt}, Case{"gpt2_fp32", true, std::nullopt},
                    Case{"gpt2_dynamic", true, RecipeOptions{.scheme = "w8a8"}},
                    Case{"gpt2_static_int8_cache", true,
                         RecipeOptions{.scheme = "w8a8", .activations = "static"},
                         kernels::DType::kI8}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace whipsnake::engine
