// Which requests are refused, for which fields, and what becomes of the others.
#include "engine/generate/generation_parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "tests/engine/fakes/fake_model.h"
#include "tests/engine/generate/request_contract.h"

namespace whipsnake::engine {
namespace {

using Parameters = GenerationParameters;
using Ids = std::vector<int32_t>;

Parameters Greedy(std::string_view text, int64_t max_new_tokens) {
  Parameters parameters;
  parameters.prompt = text;
  parameters.sampling.temperature = 0.0f;
  parameters.stopping.max_new_tokens = max_new_tokens;
  return parameters;
}

class GenerationParametersTest : public testing::Test {
 protected:
  GenerationParametersTest() { info_.vocab_size = 26; }

  absl::StatusOr<ResolvedGeneration> Resolve(const Parameters& parameters) {
    return ResolveGeneration(parameters,
                             {kind_, info_, tokenizer_, defaults_, constraints_, limits_});
  }

  SamplingParameters ResolvedSampling(const Parameters::Sampling& sampling) {
    Parameters parameters = Greedy("a", 1);
    parameters.sampling = sampling;
    const auto resolved = Resolve(parameters);
    EXPECT_TRUE(resolved.ok()) << resolved.status();
    return resolved->request.sampling;
  }

  // Applies `change` to a good request and returns the field that it is refused for.
  std::string BadField(const std::function<void(Parameters&)>& change) {
    Parameters parameters = Greedy("abc", 4);
    EXPECT_TRUE(Resolve(parameters).ok());
    change(parameters);
    const absl::Status status = Resolve(parameters).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    // The message is one sentence, not a message within a message.
    const std::string message(status.message());
    EXPECT_EQ(message.find("expected"), message.rfind("expected")) << message;
    return FieldOf(status);
  }

  GenerationKind kind_ = GenerationKind::kUnary;
  ModelInfo info_;
  FakeTokenizer tokenizer_{{"a", "b", "c"}};
  GenerationDefaults defaults_;
  ConstraintCache constraints_{std::make_shared<VocabularyTrie>(tokenizer_, 26)};
  GenerationLimits limits_{.prompt_tokens = 10, .new_tokens = 20};
};

ConstraintSpec Regex(const std::string& regex) { return {ConstraintSpec::Kind::kRegex, {regex}}; }

TEST_F(GenerationParametersTest, RequestBeatsConfigurationBeatsDefaults) {
  Parameters::Sampling sampling;
  SamplingParameters resolved = ResolvedSampling(sampling);
  EXPECT_EQ(resolved.temperature, 1.0f);
  EXPECT_EQ(resolved.top_k, 0);
  EXPECT_EQ(resolved.top_p, 1.0f);
  EXPECT_EQ(resolved.min_p, 0.0f);
  EXPECT_EQ(resolved.repetition_penalty, 1.0f);
  EXPECT_EQ(resolved.presence_penalty, 0.0f);
  EXPECT_EQ(resolved.frequency_penalty, 0.0f);

  defaults_.temperature = 0.5f;
  defaults_.top_k = 5;
  defaults_.top_p = 0.9f;
  defaults_.min_p = 0.1f;
  defaults_.repetition_penalty = 1.5f;
  defaults_.no_repeat_ngram_size = 4;
  resolved = ResolvedSampling(sampling);
  EXPECT_EQ(resolved.temperature, 0.5f);
  EXPECT_EQ(resolved.top_k, 5);
  EXPECT_EQ(resolved.top_p, 0.9f);
  EXPECT_EQ(resolved.min_p, 0.1f);
  EXPECT_EQ(resolved.repetition_penalty, 1.5f);
  EXPECT_EQ(resolved.no_repeat_ngram_size, 4);

  // Zeros that are set do not count as absent.
  sampling.temperature = 0.0f;
  sampling.top_k = 0;
  sampling.top_p = 1.0f;
  sampling.min_p = 0.0f;
  sampling.repetition_penalty = 1.0f;
  sampling.no_repeat_ngram_size = 0;
  sampling.presence_penalty = 2.0f;
  sampling.frequency_penalty = 3.0f;
  sampling.logit_bias[7] = -4;
  sampling.seed = 0;
  resolved = ResolvedSampling(sampling);
  EXPECT_EQ(resolved.temperature, 0.0f);
  EXPECT_EQ(resolved.top_k, 0);
  EXPECT_EQ(resolved.top_p, 1.0f);
  EXPECT_EQ(resolved.min_p, 0.0f);
  EXPECT_EQ(resolved.repetition_penalty, 1.0f);
  EXPECT_EQ(resolved.no_repeat_ngram_size, 0);
  EXPECT_EQ(resolved.presence_penalty, 2.0f);
  EXPECT_EQ(resolved.frequency_penalty, 3.0f);
  EXPECT_EQ(resolved.logit_bias.at(7), -4.0f);
  EXPECT_EQ(resolved.seed, 0);
}

TEST_F(GenerationParametersTest, ATokenThatTheModelLacksIsRefusedByItsText) {
  tokenizer_ = FakeTokenizer({"a", "b", "c"});
  info_.vocab_size = 2;
  const absl::Status status = Resolve(Greedy("abc", 4)).status();
  EXPECT_EQ(FieldOf(status), "text");
  EXPECT_EQ(
      status.message(),
      "text: the token \"c\" with the id 2 seen, expected tokens of the model, whose ids are 0 "
      "to 1");
  EXPECT_TRUE(Resolve(Greedy("abba", 4)).ok());
}

TEST_F(GenerationParametersTest, ATextGetsTheTokenizersSpecialTokensButNotAfterAState) {
  tokenizer_ = FakeTokenizer({"a", "b", "c"}, /*prefix=*/{2}, /*suffix=*/{1});
  Parameters parameters = Greedy("ab", 4);
  EXPECT_EQ(Resolve(parameters)->request.prompt, (Ids{2, 0, 1, 1}));
  EXPECT_EQ(Resolve(parameters)->prompt_tokens, 4);
  parameters.tokenization.add_special_tokens = false;
  EXPECT_EQ(Resolve(parameters)->request.prompt, (Ids{0, 1}));
  parameters.tokenization.add_special_tokens = true;
  parameters.prompt = Ids{0, 1};
  EXPECT_EQ(Resolve(parameters)->request.prompt, (Ids{0, 1}));

  parameters.prompt = "ab";
  FakeModel model(26);
  parameters.resume = std::make_shared<SavedState>(SavedState{{5, 6}, *model.NewState()});
  EXPECT_EQ(Resolve(parameters)->request.prompt, (Ids{5, 6, 0, 1}));
}

TEST_F(GenerationParametersTest, MakesUpASeed) {
  EXPECT_NE(ResolvedSampling({}).seed, ResolvedSampling({}).seed);
  Parameters::Sampling sampling;
  sampling.seed = 42;
  EXPECT_EQ(ResolvedSampling(sampling).seed, 42);
}

TEST_F(GenerationParametersTest, TheRequestHasEveryField) {
  Parameters parameters = Greedy("", 7);
  parameters.prompt = Ids{3, 1, 25};
  parameters.stopping.stop_texts = {"stop"};
  parameters.stopping.stop_token_ids = {5};
  parameters.output.token_ids = true;
  parameters.priority = RequestPriority::kHigh;
  parameters.client = "me";
  defaults_.eos_token_ids = {0, 2};
  auto resolved = Resolve(parameters);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  const GenerationRequest& request = resolved->request;
  EXPECT_EQ(request.prompt, (Ids{3, 1, 25}));
  EXPECT_EQ(request.priority, RequestPriority::kHigh);
  EXPECT_EQ(request.client, "me");
  EXPECT_EQ(resolved->prompt_tokens, 3);
  EXPECT_EQ(request.max_new_tokens, 7);
  EXPECT_EQ(request.stop_texts, std::vector<std::string>{"stop"});
  EXPECT_EQ(request.stop_token_ids, Ids{5});
  EXPECT_EQ(request.eos_token_ids, (Ids{0, 2}));
  EXPECT_EQ(request.top_logprobs, -1);
  EXPECT_TRUE(resolved->return_token_ids);
  EXPECT_EQ(BrokenPromise(request, info_), "");

  parameters.stopping.ignore_eos = true;
  parameters.output.logprobs = 0;
  resolved = Resolve(parameters);
  EXPECT_TRUE(resolved->request.eos_token_ids.empty());
  EXPECT_EQ(resolved->request.top_logprobs, 0);
}

TEST_F(GenerationParametersTest, MaxNewTokensDefaultsWithinTheLimits) {
  Parameters parameters = Greedy("abc", 1);
  parameters.stopping.max_new_tokens.reset();
  EXPECT_EQ(Resolve(parameters)->request.max_new_tokens, 20);  // 256 exceeds the limit
  limits_.new_tokens = 1000;
  EXPECT_EQ(Resolve(parameters)->request.max_new_tokens, 256);
  defaults_.max_new_tokens = 99;
  EXPECT_EQ(Resolve(parameters)->request.max_new_tokens, 99);
  info_.max_positions = 8;
  EXPECT_EQ(Resolve(parameters)->request.max_new_tokens, 6);
  EXPECT_EQ(LimitsFor(limits_, info_).prompt_tokens, 8);
  EXPECT_EQ(LimitsFor(limits_, info_).new_tokens, 8);
}

TEST_F(GenerationParametersTest, AClassifierIsRefused) {
  info_.labels = 2;
  EXPECT_TRUE(absl::IsFailedPrecondition(Resolve(Greedy("abc", 1)).status()));
}

TEST_F(GenerationParametersTest, ABadSamplingFieldIsNamed) {
  using P = Parameters;
  const float nan = std::nanf("");
  for (const float bad : {-0.1f, 100.5f, nan, INFINITY}) {
    EXPECT_EQ(BadField([&](P& p) { p.sampling.temperature = bad; }), "sampling.temperature");
  }
  EXPECT_EQ(BadField([&](P& p) { p.sampling.top_k = -1; }), "sampling.top_k");
  for (const float bad : {0.0f, -1.0f, 1.01f, nan}) {
    EXPECT_EQ(BadField([&](P& p) { p.sampling.top_p = bad; }), "sampling.top_p");
  }
  for (const float bad : {-0.01f, 1.01f, nan}) {
    EXPECT_EQ(BadField([&](P& p) { p.sampling.min_p = bad; }), "sampling.min_p");
  }
  for (const float bad : {0.0f, -1.0f, 101.0f, nan}) {
    EXPECT_EQ(BadField([&](P& p) { p.sampling.repetition_penalty = bad; }),
              "sampling.repetition_penalty");
  }
  for (const float bad : {-101.0f, 101.0f, nan}) {
    EXPECT_EQ(BadField([&](P& p) { p.sampling.presence_penalty = bad; }),
              "sampling.presence_penalty");
    EXPECT_EQ(BadField([&](P& p) { p.sampling.frequency_penalty = bad; }),
              "sampling.frequency_penalty");
  }
  for (const auto& [id, bias] : {std::pair{-1, 1.0f}, {26, 1.0f}, {0, 1001.0f}, {0, nan}}) {
    EXPECT_EQ(BadField([id = id, bias = bias](P& p) { p.sampling.logit_bias[id] = bias; }),
              "sampling.logit_bias");
  }
}

TEST_F(GenerationParametersTest, ABadStoppingFieldIsNamed) {
  using P = Parameters;
  for (const int bad : {0, -1, 21}) {
    EXPECT_EQ(BadField([&](P& p) { p.stopping.max_new_tokens = bad; }), "stopping.max_new_tokens");
  }
  for (const std::string& bad : {std::string(), std::string(257, 'x')}) {
    EXPECT_EQ(BadField([&](P& p) {
                p.stopping.stop_texts = {"fine", bad};
              }),
              "stopping.stop_texts[1]");
  }
  EXPECT_EQ(BadField([&](P& p) { p.stopping.stop_texts.assign(17, "x"); }), "stopping.stop_texts");
  for (const int bad : {-1, 26}) {
    EXPECT_EQ(BadField([&](P& p) { p.stopping.stop_token_ids = {bad}; }),
              "stopping.stop_token_ids[0]");
  }
  EXPECT_EQ(BadField([&](P& p) { p.stopping.stop_token_ids.assign(65, 1); }),
            "stopping.stop_token_ids");
  EXPECT_EQ(BadField([&](P& p) { p.stopping.min_new_tokens = 5; }), "stopping.min_new_tokens");
}

TEST_F(GenerationParametersTest, ABadStructuredOutputIsNamed) {
  using P = Parameters;
  using Kind = ConstraintSpec::Kind;
  EXPECT_EQ(BadField([&](P& p) { p.structured = Regex("("); }), "structured.regex");
  EXPECT_EQ(BadField([&](P& p) {
              p.structured = {Kind::kJsonSchema, {"[]"}};
            }),
            "structured.json_schema");
  EXPECT_EQ(BadField([&](P& p) { p.structured = {Kind::kChoices, {}}; }), "structured.choices");
  EXPECT_EQ(BadField([&](P& p) { p.structured = Regex("(abc){2}"); }), "stopping.max_new_tokens");
  EXPECT_EQ(BadField([&](P& p) {
              p.structured = Regex("a");
              p.stopping.stop_texts = {"x"};
            }),
            "stopping.stop_texts");
}

TEST_F(GenerationParametersTest, AnyOtherBadFieldIsNamed) {
  using P = Parameters;
  for (const int bad : {-1, 26}) {
    EXPECT_EQ(BadField([&](P& p) { p.prompt = Ids{0, bad}; }), "token_ids.ids[1]");
  }
  for (const int bad : {-1, 21}) {
    EXPECT_EQ(BadField([&](P& p) { p.output.logprobs = bad; }), "output.logprobs");
  }
  const std::string long_name(129, 'x');
  EXPECT_EQ(BadField([&](P& p) { p.request_id = long_name; }), "request_id");
  EXPECT_EQ(BadField([&](P& p) { p.client = long_name; }), "client");
  EXPECT_EQ(BadField([&](P& p) { p.priority = InvalidField("priority", "7", "1 to 3"); }),
            "priority");
  EXPECT_EQ(BadField([&](P& p) { p.prompt = {}; }), "prompt");
  EXPECT_EQ(BadField([&](P& p) { p.n = 0; }), "n");
  EXPECT_EQ(BadField([&](P& p) { p.n = 65; }), "n");
  EXPECT_EQ(BadField([&](P& p) {
              p.n = 3;
              p.best_of = 2;
            }),
            "best_of");
  kind_ = GenerationKind::kStream;
  EXPECT_EQ(BadField([&](P& p) { p.best_of = 2; }), "best_of");
  EXPECT_EQ(BadField([&](P& p) { p.prompt = ""; }), "text");
  EXPECT_EQ(BadField([&](P& p) { p.prompt = "aaaaaaaaaaa"; }), "text");
  EXPECT_EQ(BadField([&](P& p) { p.prompt = Ids(); }), "token_ids.ids");
}

TEST_F(GenerationParametersTest, AllThatIsWrongIsSaidAtOnce) {
  Parameters parameters;  // no prompt
  parameters.client = std::string(129, 'x');
  parameters.priority = InvalidField("priority", "7", "1 to 3");
  parameters.n = 0;
  parameters.sampling.temperature = -1.0f;
  parameters.sampling.top_p = 2.0f;
  parameters.output.logprobs = 21;
  parameters.structured = Regex("(");
  parameters.stopping.stop_texts = {""};
  parameters.stopping.max_new_tokens = 0;
  std::vector<std::string> fields;
  for (const FieldViolation& violation : ViolationsOf(Resolve(parameters).status())) {
    EXPECT_THAT(violation.message, testing::StartsWith(violation.field + ": "));
    fields.push_back(violation.field);
  }
  EXPECT_THAT(fields, testing::ElementsAre("client", "priority", "n", "structured.regex",
                                           "sampling.temperature", "sampling.top_p",
                                           "stopping.stop_texts[0]", "output.logprobs", "prompt",
                                           "stopping.max_new_tokens"));
}

// The token chosen last needs no position, because nothing reads it.
TEST_F(GenerationParametersTest, APromptAsLongAsTheModelHasOneNewToken) {
  info_.max_positions = 3;
  EXPECT_TRUE(Resolve(Greedy("abc", 1)).ok());
  EXPECT_EQ(FieldOf(Resolve(Greedy("abc", 2)).status()), "stopping.max_new_tokens");
  EXPECT_EQ(FieldOf(Resolve(Greedy("abca", 1)).status()), "text");
  EXPECT_TRUE(Resolve(Greedy("ab", 2)).ok());
  EXPECT_EQ(FieldOf(Resolve(Greedy("ab", 3)).status()), "stopping.max_new_tokens");
}

// A short request with a long echo and many completions must not take memory that is not booked.
TEST_F(GenerationParametersTest, TheResultIsBooked) {
  Parameters parameters;
  parameters.prompt = "abcabcab";
  parameters.n = 3;
  parameters.stopping.max_new_tokens = 1;
  const auto plain = Resolve(parameters);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->request.result_bytes, 0);
  EXPECT_TRUE(plain->request.keeps_result);
  parameters.output.echo = true;
  EXPECT_EQ(Resolve(parameters)->request.result_bytes, 8 * (1 + 2 * 3));
  kind_ = GenerationKind::kStream;
  const auto stream = Resolve(parameters);
  EXPECT_EQ(stream->request.result_bytes, 8 * 2);
  EXPECT_FALSE(stream->request.keeps_result);
  EXPECT_GT(stream->request.result_token_bytes, 0);
}

}  // namespace
}  // namespace whipsnake::engine
