#include "server/rpc/generation_request.h"

#include <cmath>

#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/rpc/messages.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

using engine::FakeTokenizer;

class GenerationRequestTest : public testing::Test {
 protected:
  GenerationRequestTest() { info_.vocab_size = 26; }

  absl::StatusOr<ResolvedGeneration> Resolve(const v1::GenerationParameters& parameters) {
    return ResolveGeneration(parameters,
                             {kind_, model_, info_, tokenizer_, defaults_, constraints_, limits_});
  }

  // Applies `change` to a good request and returns the field that it is refused for.
  std::string BadField(const std::function<void(v1::GenerationParameters&)>& change) {
    v1::GenerationParameters parameters = Greedy("abc", 4);
    EXPECT_TRUE(Resolve(parameters).ok());
    change(parameters);
    const auto resolved = Resolve(parameters);
    EXPECT_TRUE(absl::IsInvalidArgument(resolved.status())) << resolved.status();
    // The message is one sentence, not a message within a message.
    const std::string message(resolved.status().message());
    EXPECT_EQ(message.find("expected"), message.rfind("expected")) << message;
    return FieldOf(ToGrpc(resolved.status()));
  }

  GenerationKind kind_ = GenerationKind::kUnary;
  const std::string model_ = "m";
  engine::ModelInfo info_;
  FakeTokenizer tokenizer_{{"a", "b", "c"}};
  engine::GenerationDefaults defaults_;
  engine::ConstraintCache constraints_{std::make_shared<engine::VocabularyTrie>(tokenizer_, 26)};
  GenerationLimits limits_{.prompt_tokens = 10, .new_tokens = 20};
};

TEST_F(GenerationRequestTest, RequestBeatsConfigurationBeatsDefaults) {
  v1::Sampling sampling;
  engine::SamplingParameters resolved = ResolveSampling(sampling, defaults_);
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
  resolved = ResolveSampling(sampling, defaults_);
  EXPECT_EQ(resolved.temperature, 0.5f);
  EXPECT_EQ(resolved.top_k, 5);
  EXPECT_EQ(resolved.top_p, 0.9f);
  EXPECT_EQ(resolved.min_p, 0.1f);
  EXPECT_EQ(resolved.repetition_penalty, 1.5f);

  // Zeros that are set do not count as absent.
  sampling.set_temperature(0);
  sampling.set_top_k(0);
  sampling.set_top_p(1);
  sampling.set_min_p(0);
  sampling.set_repetition_penalty(1);
  sampling.set_presence_penalty(2);
  sampling.set_frequency_penalty(3);
  (*sampling.mutable_logit_bias())[7] = -4;
  sampling.set_seed(0);
  resolved = ResolveSampling(sampling, defaults_);
  EXPECT_EQ(resolved.temperature, 0.0f);
  EXPECT_EQ(resolved.top_k, 0);
  EXPECT_EQ(resolved.top_p, 1.0f);
  EXPECT_EQ(resolved.min_p, 0.0f);
  EXPECT_EQ(resolved.repetition_penalty, 1.0f);
  EXPECT_EQ(resolved.presence_penalty, 2.0f);
  EXPECT_EQ(resolved.frequency_penalty, 3.0f);
  EXPECT_EQ(resolved.logit_bias.at(7), -4.0f);
  EXPECT_EQ(resolved.seed, 0);
}

TEST_F(GenerationRequestTest, MakesUpASeedAndSaysWhich) {
  v1::GenerationParameters parameters = Greedy("a", 1);
  const auto first = Resolve(parameters);
  const auto second = Resolve(parameters);
  EXPECT_NE(first->request.sampling.seed, second->request.sampling.seed);
  EXPECT_EQ(first->parameters.sampling().seed(), first->request.sampling.seed);
  parameters.mutable_sampling()->set_seed(42);
  EXPECT_EQ(Resolve(parameters)->request.sampling.seed, 42);
}

TEST_F(GenerationRequestTest, TranslatesEveryField) {
  v1::GenerationParameters parameters = Greedy("", 7);
  for (const int id : {3, 1, 25}) parameters.mutable_token_ids()->add_ids(id);
  parameters.mutable_stopping()->add_stop_texts("stop");
  parameters.mutable_stopping()->add_stop_token_ids(5);
  parameters.mutable_output()->set_token_ids(true);
  parameters.set_priority(v1::REQUEST_PRIORITY_HIGH);
  parameters.set_client("me");
  defaults_.eos_token_ids = {0, 2};
  auto resolved = Resolve(parameters);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  const engine::GenerationRequest& request = resolved->request;
  EXPECT_EQ(request.prompt, (std::vector<int32_t>{3, 1, 25}));
  EXPECT_EQ(request.priority, engine::RequestPriority::kHigh);
  EXPECT_EQ(request.client, "me");
  EXPECT_EQ(resolved->prompt_tokens, 3);
  EXPECT_EQ(request.max_new_tokens, 7);
  EXPECT_EQ(request.stop_texts, std::vector<std::string>{"stop"});
  EXPECT_EQ(request.stop_token_ids, std::vector<int32_t>{5});
  EXPECT_EQ(request.eos_token_ids, (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(request.top_logprobs, -1);
  EXPECT_TRUE(resolved->return_token_ids);
  EXPECT_TRUE(engine::Validate(request, info_).ok());

  parameters.mutable_stopping()->set_ignore_eos(true);
  parameters.mutable_output()->set_logprobs(0);
  resolved = Resolve(parameters);
  EXPECT_TRUE(resolved->request.eos_token_ids.empty());
  EXPECT_EQ(resolved->request.top_logprobs, 0);
}

TEST_F(GenerationRequestTest, MaxNewTokensDefaultsWithinTheLimits) {
  v1::GenerationParameters parameters = Greedy("abc", 1);
  parameters.mutable_stopping()->clear_max_new_tokens();
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

TEST_F(GenerationRequestTest, EveryBadFieldIsNamed) {
  using P = v1::GenerationParameters;
  const float nan = std::nanf("");
  for (const float bad : {-0.1f, 100.5f, nan, INFINITY}) {
    EXPECT_EQ(BadField([&](P& p) { p.mutable_sampling()->set_temperature(bad); }),
              "sampling.temperature");
  }
  EXPECT_EQ(BadField([&](P& p) { p.mutable_sampling()->set_top_k(-1); }), "sampling.top_k");
  for (const float bad : {0.0f, -1.0f, 1.01f, nan}) {
    EXPECT_EQ(BadField([&](P& p) { p.mutable_sampling()->set_top_p(bad); }), "sampling.top_p");
  }
  for (const float bad : {-0.01f, 1.01f, nan}) {
    EXPECT_EQ(BadField([&](P& p) { p.mutable_sampling()->set_min_p(bad); }), "sampling.min_p");
  }
  for (const float bad : {0.0f, -1.0f, 101.0f, nan}) {
    EXPECT_EQ(BadField([&](P& p) { p.mutable_sampling()->set_repetition_penalty(bad); }),
              "sampling.repetition_penalty");
  }
  for (const float bad : {-101.0f, 101.0f, nan}) {
    EXPECT_EQ(BadField([&](P& p) { p.mutable_sampling()->set_presence_penalty(bad); }),
              "sampling.presence_penalty");
    EXPECT_EQ(BadField([&](P& p) { p.mutable_sampling()->set_frequency_penalty(bad); }),
              "sampling.frequency_penalty");
  }
  for (const auto& [id, bias] : {std::pair{-1, 1.0f}, {26, 1.0f}, {0, 1001.0f}, {0, nan}}) {
    EXPECT_EQ(BadField([id = id, bias = bias](P& p) {
                (*p.mutable_sampling()->mutable_logit_bias())[id] = bias;
              }),
              "sampling.logit_bias");
  }
  for (const int bad : {0, -1, 21}) {
    EXPECT_EQ(BadField([&](P& p) { p.mutable_stopping()->set_max_new_tokens(bad); }),
              "stopping.max_new_tokens");
  }
  for (const std::string& bad : {std::string(), std::string(257, 'x')}) {
    EXPECT_EQ(BadField([&](P& p) {
                p.mutable_stopping()->add_stop_texts("fine");
                p.mutable_stopping()->add_stop_texts(bad);
              }),
              "stopping.stop_texts[1]");
  }
  EXPECT_EQ(BadField([&](P& p) {
              for (int i = 0; i < 17; ++i) p.mutable_stopping()->add_stop_texts("x");
            }),
            "stopping.stop_texts");
  for (const int bad : {-1, 26}) {
    EXPECT_EQ(BadField([&](P& p) { p.mutable_stopping()->add_stop_token_ids(bad); }),
              "stopping.stop_token_ids[0]");
    EXPECT_EQ(BadField([&](P& p) {
                p.mutable_token_ids()->add_ids(0);
                p.mutable_token_ids()->add_ids(bad);
              }),
              "token_ids.ids[1]");
  }
  EXPECT_EQ(BadField([&](P& p) {
              for (int i = 0; i < 65; ++i) p.mutable_stopping()->add_stop_token_ids(1);
            }),
            "stopping.stop_token_ids");
  for (const int bad : {-1, 21}) {
    EXPECT_EQ(BadField([&](P& p) { p.mutable_output()->set_logprobs(bad); }), "output.logprobs");
  }
  EXPECT_EQ(BadField([&](P& p) { p.set_request_id(std::string(129, 'x')); }), "request_id");
  EXPECT_EQ(BadField([&](P& p) { p.set_client(std::string(129, 'x')); }), "client");
  EXPECT_EQ(BadField([&](P& p) { p.set_priority(static_cast<v1::RequestPriority>(7)); }),
            "priority");
  EXPECT_EQ(BadField([&](P& p) { p.clear_prompt(); }), "prompt");
  EXPECT_EQ(BadField([&](P& p) { p.mutable_structured()->set_regex("("); }), "structured.regex");
  EXPECT_EQ(BadField([&](P& p) { p.mutable_structured()->set_json_schema("[]"); }),
            "structured.json_schema");
  EXPECT_EQ(BadField([&](P& p) { p.mutable_structured()->mutable_choices(); }),
            "structured.choices");
  EXPECT_EQ(BadField([&](P& p) { p.mutable_structured()->set_regex("(abc){2}"); }),
            "stopping.max_new_tokens");
  EXPECT_EQ(BadField([&](P& p) {
              p.mutable_structured()->set_regex("a");
              p.mutable_stopping()->add_stop_texts("x");
            }),
            "stopping.stop_texts");
  EXPECT_EQ(BadField([&](P& p) { p.set_n(0); }), "n");
  EXPECT_EQ(BadField([&](P& p) { p.set_n(65); }), "n");
  EXPECT_EQ(BadField([&](P& p) {
              p.set_n(3);
              p.set_best_of(2);
            }),
            "best_of");
  EXPECT_EQ(BadField([&](P& p) { p.mutable_stopping()->set_min_new_tokens(5); }),
            "stopping.min_new_tokens");
  kind_ = GenerationKind::kStream;
  EXPECT_EQ(BadField([&](P& p) { p.set_best_of(2); }), "best_of");
  EXPECT_EQ(BadField([&](P& p) { p.set_text(""); }), "text");
  EXPECT_EQ(BadField([&](P& p) { p.set_text("aaaaaaaaaaa"); }), "text");
  EXPECT_EQ(BadField([&](P& p) { p.mutable_token_ids(); }), "token_ids.ids");
}

TEST_F(GenerationRequestTest, AllThatIsWrongIsSaidAtOnce) {
  v1::GenerationParameters parameters;  // no prompt
  parameters.set_client(std::string(129, 'x'));
  parameters.set_n(0);
  parameters.mutable_sampling()->set_temperature(-1);
  parameters.mutable_sampling()->set_top_p(2);
  parameters.mutable_output()->set_logprobs(21);
  parameters.mutable_structured()->set_regex("(");
  parameters.mutable_stopping()->add_stop_texts("");
  parameters.mutable_stopping()->set_max_new_tokens(0);
  const absl::Status status = Resolve(parameters).status();
  std::vector<std::string> fields;
  for (const auto& violation : engine::ViolationsOf(status)) {
    EXPECT_THAT(violation.message, testing::StartsWith(violation.field + ": "));
    fields.push_back(violation.field);
  }
  EXPECT_THAT(fields, testing::UnorderedElementsAre("client", "n", "sampling.temperature",
                                                    "sampling.top_p", "output.logprobs",
                                                    "structured.regex", "stopping.stop_texts[0]",
                                                    "stopping.max_new_tokens", "prompt"));
  const auto detail = DetailOf<google::rpc::BadRequest>(ToGrpc(status));
  ASSERT_TRUE(detail);
  EXPECT_EQ(detail->field_violations_size(), 9);
}

// The token chosen last needs no position, because nothing reads it.
TEST_F(GenerationRequestTest, APromptAsLongAsTheModelHasOneNewToken) {
  info_.max_positions = 3;
  EXPECT_TRUE(Resolve(Greedy("abc", 1)).ok());
  EXPECT_EQ(FieldOf(ToGrpc(Resolve(Greedy("abc", 2)).status())), "stopping.max_new_tokens");
  EXPECT_EQ(FieldOf(ToGrpc(Resolve(Greedy("abca", 1)).status())), "text");
  EXPECT_TRUE(Resolve(Greedy("ab", 2)).ok());
  EXPECT_EQ(FieldOf(ToGrpc(Resolve(Greedy("ab", 3)).status())), "stopping.max_new_tokens");
}

grpc::ByteBuffer Bytes(const std::string& text) {
  const grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

// A short request with a long echo and many completions must not take memory that is not booked.
TEST_F(GenerationRequestTest, TheResultIsBooked) {
  v1::GenerationParameters parameters;
  parameters.set_text("abcabcab");
  parameters.set_n(3);
  parameters.mutable_stopping()->set_max_new_tokens(1);
  const auto plain = Resolve(parameters);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->request.result_bytes, 0);
  EXPECT_TRUE(plain->request.keeps_result);
  parameters.mutable_output()->set_echo(true);
  EXPECT_EQ(Resolve(parameters)->request.result_bytes, 8 * (1 + 2 * 3));
  kind_ = GenerationKind::kStream;
  const auto stream = Resolve(parameters);
  EXPECT_EQ(stream->request.result_bytes, 8 * 2);
  EXPECT_FALSE(stream->request.keeps_result);
  EXPECT_GT(stream->request.result_token_bytes, 0);
}

TEST(ParseMessageTest, NamesTheTextThatIsNotUtf8) {
  const auto field_after = [](const std::function<void(v1::GenerationParameters&)>& change) {
    v1::GenerateRequest request;
    request.mutable_parameters()->set_model("m");
    change(*request.mutable_parameters());
    v1::GenerateRequest parsed;
    return engine::FieldOf(ParseMessage(Bytes(request.SerializeAsString()), &parsed));
  };
  const std::string bad = "bad \xC3\x28";
  EXPECT_EQ(field_after([&](auto&) {}), "");
  EXPECT_EQ(field_after([&](auto& p) { p.set_text(bad); }), "parameters.text");
  EXPECT_EQ(field_after([&](auto& p) { p.set_model(bad); }), "parameters.model");
  EXPECT_EQ(field_after([&](auto& p) {
              p.mutable_stopping()->add_stop_texts("good");
              p.mutable_stopping()->add_stop_texts("good");
              p.mutable_stopping()->add_stop_texts(bad);
            }),
            "parameters.stopping.stop_texts[2]");
}

TEST(ParseMessageTest, EveryTruncationIsRefusedOrParses) {
  v1::GenerateRequest request;
  *request.mutable_parameters() = Greedy("some text", 3);
  (*request.mutable_parameters()->mutable_sampling()->mutable_logit_bias())[1] = 2;
  const std::string bytes = request.SerializeAsString();
  for (size_t length = 1; length < bytes.size(); ++length) {
    v1::GenerateRequest parsed;
    const absl::Status status = ParseMessage(Bytes(bytes.substr(0, length)), &parsed);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << length;
    EXPECT_EQ(ReasonOf(ToGrpc(status)), "MALFORMED_MESSAGE");
  }
}

}  // namespace
}  // namespace whipsnake::server
