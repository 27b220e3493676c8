// Compares GPT-2's logits with those of transformers (tests/oracles/gpt2_goldens.py), and checks
// that logits depend neither on how a sequence is cut into runs nor on the rest of the batch.
#include "engine/models/gpt2/gpt2.h"

#include "engine/layers/kv_state.h"
#include "tests/engine/models/support.h"

namespace whipsnake::engine {
namespace {

namespace fs = std::filesystem;
using kernels::DType;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kGoldens = "tests/goldens/gpt2/";
constexpr const char* kDemo = "deploy/models/gpt2-crrelu-demo";

std::string Golden(const std::string& name) { return kGoldens + name; }

class Gpt2GoldenTest : public ModelFixture, public ::testing::WithParamInterface<const char*> {};

TEST_P(Gpt2GoldenTest, LogitsEqualTransformers) {
  const auto model = Load(Golden(GetParam()));
  ASSERT_NE(model, nullptr);
  for (const GoldenSequence& golden : ReadGoldens(Golden(GetParam()))) {
    ExpectGolden(golden, ForwardWhole(*model, golden.tokens), 2e-5);
  }
}

TEST_P(Gpt2GoldenTest, AnySplitGivesTheSameLogits) {
  const auto model = Load(Golden(GetParam()));
  ASSERT_NE(model, nullptr);
  std::mt19937 random(11);
  for (const int64_t length : {1, 2, 3, 16, 33, 48}) {
    const std::vector<int32_t> tokens = RandomTokens(*model, length);
    const Logits whole = ForwardWhole(*model, tokens);
    const Logits steps = ForwardInPieces(*model, tokens, std::vector<int64_t>(length, 1));
    EXPECT_LE(Difference(whole, steps), 1e-5);
    // Products of up to 16 rows always sum in the same order, as does the rest of the model.
    if (length <= 16) {
      EXPECT_EQ(whole, steps);
    }
    for (int round = 0; round < 5; ++round) {
      std::vector<int64_t> pieces;
      for (int64_t left = length; left > 0; left -= pieces.back())
        pieces.push_back(1 + random() % left);
      EXPECT_LE(Difference(whole, ForwardInPieces(*model, tokens, pieces)), 1e-5);
    }
  }
}

TEST_P(Gpt2GoldenTest, ABatchOfUnequalRunsGivesTheSameLogitsAsEachAlone) {
  const auto model = Load(Golden(GetParam()));
  ASSERT_NE(model, nullptr);
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::unique_ptr<State>> states;
  std::vector<Run> runs;
  Logits alone;
  for (const int64_t length : {5, 1, 33, 2, 1, 8}) {
    tokens.push_back(RandomTokens(*model, length, length));
    states.push_back(NewState(*model));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    alone.push_back(ForwardWhole(*model, tokens[i]).back());
    runs.push_back({tokens[i], states[i].get(), LogitsOf::kLast});
  }
  EXPECT_LE(Difference(alone, Forward(*model, runs)), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Goldens, Gpt2GoldenTest,
                         ::testing::Values("relu", "leaky_relu", "gelu", "gelu_new", "quick_gelu",
                                           "silu", "mish", "crrelu", "unprefixed", "sharded",
                                           "unscaled", "inverse_layer", "bf16", "f16"),
                         [](const auto& test) { return test.param; });

class Gpt2Test : public ModelFixture {
 protected:
  // A copy of a golden model with a changed config.json.
  template <typename Change>
  std::string Changed(const std::string& golden, const Change& change) {
    const std::string directory = ::testing::TempDir() + "/changed_gpt2";
    fs::remove_all(directory);
    fs::copy(Golden(golden), directory);
    nlohmann::json config = nlohmann::json::parse(std::ifstream(Golden(golden) + "/config.json"));
    change(config);
    std::ofstream(directory + "/config.json") << config;
    return directory;
  }

  template <typename Change>
  std::string Refusal(const std::string& golden, const Change& change) {
    return std::string(
        LoadModel(Changed(golden, change), {}, {&executor_, &ledger_}).status().message());
  }

  std::unique_ptr<Model> LoadWithCache(const std::string& directory, DType type) {
    auto model = LoadModel(directory, {.state_type = type}, {&executor_, &ledger_});
    EXPECT_TRUE(model.ok()) << model.status();
    return *std::move(model);
  }
};

TEST_F(Gpt2Test, AClassifiersLogitsEqualTransformers) {
  const auto model = Load(Golden("classifier"));
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->info().outputs(), 3);
  EXPECT_EQ(model->info().vocab_size, 64);
  for (const GoldenSequence& golden : ReadGoldens(Golden("classifier"))) {
    const auto state = NewState(*model);
    const Logits logits = Forward(*model, {{golden.tokens, state.get(), LogitsOf::kLast}});
    ASSERT_EQ(logits.size(), 1u);
    for (int label = 0; label < 3; ++label) {
      EXPECT_NEAR(logits[0][label], golden.logits[label], 1e-4);
    }
  }
}

TEST_F(Gpt2Test, CRReluWithoutEpsilonIsRelu) {
  const auto relu = Load(Golden("relu"));
  const auto swapped = Load(Changed("relu", [](auto& config) {
    config["activation_function"] = "crrelu";
    config["crrelu_epsilon_init"] = 0;
  }));
  const std::vector<int32_t> tokens = RandomTokens(*relu, 40);
  EXPECT_EQ(ForwardWhole(*relu, tokens), ForwardWhole(*swapped, tokens));
}

TEST_F(Gpt2Test, WhatIsWrongWithAnActivationIsNamed) {
  EXPECT_THAT(Refusal("relu", [](auto& c) { c["activation_function"] = "crrelu"; }),
              AllOf(HasSubstr("\"transformer.h.0.mlp.act.lr\": missing"),
                    HasSubstr("crrelu_epsilon_init")));
  EXPECT_THAT(
      Refusal("crrelu", [](auto& c) { c["activation_function"] = "gelu"; }),
      AllOf(HasSubstr("\"transformer.h.0.mlp.act.lr\": an epsilon seen"), HasSubstr("\"gelu\"")));
  EXPECT_THAT(Refusal("crrelu", [](auto& c) { c["activation_function"] = "gellu"; }),
              AllOf(HasSubstr("activation_function: \"gellu\" seen"), HasSubstr("crrelu")));
  EXPECT_EQ(ledger_.peak(), 0);
}

TEST_F(Gpt2Test, WhatIsMissingOrMisshapenIsNamed) {
  EXPECT_THAT(Refusal("gelu", [](auto& c) { c["n_inner"] = 17; }), HasSubstr("mlp.c_fc.weight"));
  EXPECT_THAT(Refusal("gelu", [](auto& c) { c["n_layer"] = 9; }), HasSubstr("transformer.h.2."));
  EXPECT_THAT(Refusal("gelu", [](auto& c) { c["n_positions"] = 49; }), HasSubstr("wpe.weight"));
  EXPECT_THAT(Refusal("gelu", [](auto& c) { c["tie_word_embeddings"] = false; }),
              HasSubstr("lm_head.weight"));
  const auto quantized =
      LoadModel(Golden("gelu"), {.scheme = Scheme::kW8A8}, {&executor_, &ledger_});
  EXPECT_EQ(quantized.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ledger_.peak(), 0);
}

TEST_F(Gpt2Test, MoreTokensThanPositionsAreRefusedAndChangeNothing) {
  const auto model = Load(Golden("crrelu"));
  EXPECT_EQ(model->info().max_positions, 48);
  const std::vector<int32_t> tokens = RandomTokens(*model, 49);
  auto state = NewState(*model);
  const Run all{tokens, state.get()};
  const auto refused = model->Forward({&all, 1});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("49 positions seen, expected at most 48"));
  EXPECT_EQ(state->position(), 0);
  EXPECT_EQ(state->bytes(), 0);
  const Run most{std::span(tokens).first(48), state.get()},
      more{std::span(tokens).last(1), state.get()};
  EXPECT_TRUE(model->Forward({&most, 1}).ok());
  EXPECT_FALSE(model->Forward({&more, 1}).ok());
}

TEST_F(Gpt2Test, AForkGoesItsOwnWayFromWhereverItParts) {
  const auto model = Load(Golden("crrelu"));
  const std::vector<int32_t> tokens = RandomTokens(*model, 48, 1),
                             other = RandomTokens(*model, 48, 2);
  auto state = NewState(*model);
  const Logits whole = Forward(*model, {{tokens, state.get(), LogitsOf::kAll}});
  for (const int64_t at : {1, 20, 32, 33, 47}) {
    auto fork = state->CloneAt(at);
    ASSERT_TRUE(fork.ok()) << fork.status();
    EXPECT_EQ((*fork)->position(), at);
    const auto rest = std::span(other).subspan(at);
    const Logits forked = Forward(*model, {{rest, fork->get(), LogitsOf::kLast}});
    std::vector<int32_t> all(tokens.begin(), tokens.begin() + at);
    all.insert(all.end(), rest.begin(), rest.end());
    EXPECT_LE(Difference({ForwardWhole(*model, all).back()}, forked), 1e-5) << at;
    // The first state is unchanged.
    auto same = state->CloneAt(47);
    EXPECT_LE(
        Difference({whole.back()}, Forward(*model, {{std::span(tokens).last(1), same->get()}})),
        1e-5);
  }
  EXPECT_FALSE(state->CloneAt(49).ok());
}

TEST_F(Gpt2Test, StatesShareWholeBlocks) {
  const auto model = Load(Golden("crrelu"));
  auto state = NewState(*model);
  Forward(*model, {{RandomTokens(*model, 40), state.get(), LogitsOf::kNone}});
  const int64_t block = state->bytes() / 2;
  EXPECT_EQ(model->info().state_bytes, 2 * block);
  const int64_t before = ledger_.used(Purpose::kStates);
  auto fork = state->Clone();
  EXPECT_EQ(ledger_.used(Purpose::kStates), before + block) << "the second, which is not full";
  std::vector<MemoryPiece> a, b;
  state->AppendMemory(a);
  (*fork)->AppendMemory(b);
  ASSERT_EQ(a.size(), 2u);
  EXPECT_EQ(a[0].address, b[0].address);
  EXPECT_NE(a[1].address, b[1].address);
  state.reset();
  fork->reset();
  EXPECT_EQ(ledger_.used(Purpose::kStates), 0);
}

TEST_F(Gpt2Test, RoomIsMadeAtOnceAndGivenBack) {
  Ledger ledger;
  const auto model = *LoadModel(Golden("crrelu"), {}, {&executor_, &ledger});
  auto state = NewState(*model);
  ASSERT_TRUE(state->MakeRoom(48).ok());
  EXPECT_EQ(state->bytes(), model->info().state_bytes);
  Forward(*model, {{RandomTokens(*model, 3), state.get(), LogitsOf::kNone}});
  EXPECT_EQ(state->saved_bytes(), model->info().state_bytes / 2);
  state->ReleaseRoom();
  EXPECT_EQ(state->bytes(), model->info().state_bytes / 2);

  Ledger full(ledger.used(Purpose::kWeights) + model->info().state_bytes);
  const auto crowded = *LoadModel(Golden("crrelu"), {}, {&executor_, &full});
  auto waiting = NewState(*crowded);
  EXPECT_EQ(waiting->MakeRoom(4800).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(Gpt2Test, SavedStatesGoOnAsTheyWere) {
  for (const DType type : {DType::kF32, DType::kBF16, DType::kI8}) {
    const auto model = LoadWithCache(Golden("crrelu"), type);
    const std::vector<int32_t> tokens = RandomTokens(*model, 45);
    for (const int64_t at : {1, 31, 32, 40}) {
      auto state = NewState(*model);
      Forward(*model, {{std::span(tokens).first(at), state.get(), LogitsOf::kNone}});
      std::vector<std::byte> saved(state->saved_bytes());
      ASSERT_TRUE(state->Save(saved).ok());
      auto restored = model->RestoreState(at, saved);
      ASSERT_TRUE(restored.ok()) << restored.status();
      const auto rest = std::span(tokens).subspan(at);
      EXPECT_EQ(Forward(*model, {{rest, restored->get(), LogitsOf::kAll}}),
                Forward(*model, {{rest, state.get(), LogitsOf::kAll}}));
      // Saved bytes depend only on the tokens, not on how the state was computed.
      auto longer = NewState(*model);
      Forward(*model, {{std::span(tokens).first(at), longer.get(), LogitsOf::kNone}});
      Forward(*model, {{rest, longer.get(), LogitsOf::kNone}});
      std::vector<std::byte> again(saved.size());
      ASSERT_TRUE((*longer->CloneAt(at))->Save(again).ok());
      EXPECT_TRUE(saved == again) << at;
      saved.pop_back();
      EXPECT_EQ(model->RestoreState(at, saved).status().code(), absl::StatusCode::kInvalidArgument);
    }
  }
}

TEST_F(Gpt2Test, SmallerCachesStayNear) {
  const auto exact = LoadWithCache(kDemo, DType::kF32);
  const std::vector<int32_t> tokens = RandomTokens(*exact, 300);
  const Logits want = ForwardWhole(*exact, tokens);
  int64_t bytes = exact->info().state_bytes;
  for (const auto& [type, bound] : {std::pair{DType::kBF16, 0.02}, {DType::kI8, 0.03}}) {
    const auto model = LoadWithCache(kDemo, type);
    EXPECT_LT(model->info().state_bytes, bytes);
    bytes = model->info().state_bytes;
    const double difference = Difference(want, ForwardWhole(*model, tokens));
    EXPECT_LT(difference, bound);
    EXPECT_GT(difference, 0) << "it is another arithmetic";
  }
}

TEST_F(Gpt2Test, Bf16StaysNearFp32) {
  const auto exact = Load(kDemo), rounded = Load(kDemo, Scheme::kBf16);
  EXPECT_LT(rounded->info().weights_bytes, 0.52 * exact->info().weights_bytes);
  const std::vector<int32_t> tokens = RandomTokens(*exact, 64);
  const double difference =
      Difference(ForwardWhole(*exact, tokens), ForwardWhole(*rounded, tokens));
  EXPECT_LT(difference, 0.03);
  EXPECT_GT(difference, 0);
}

TEST_F(Gpt2Test, WeightsThatADecodeStepReadsAreAllButThePositions) {
  const auto model = Load(Golden("crrelu"));
  int64_t bytes = 0;
  for (const auto& span : DecodeWeights(*model)) bytes += std::ssize(span);
  const int64_t positions = 48 * 18 * 4, epsilons = 4 * 2;
  EXPECT_EQ(bytes, model->info().weights_bytes - positions + epsilons);
}

// Greedy continuations of the demo model must equal those of an independent fp32 implementation.
TEST_F(Gpt2Test, TheDemoModelContinuesItsReferencePrompts) {
  const auto model = Load(kDemo);
  ASSERT_NE(model, nullptr);
  ExpectReferenceContinuations(*model, kDemo);
}

}  // namespace
}  // namespace whipsnake::engine
