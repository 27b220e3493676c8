// How the messages of generation become the engine's types.
#include "server/rpc/generation_request.h"

#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/rpc/messages.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

using Ids = std::vector<int32_t>;

TEST(GenerationRequestTest, CopiesEveryField) {
  v1::GenerationParameters message;
  for (const int id : {3, 1, 25}) message.mutable_token_ids()->add_ids(id);
  v1::Stopping& stopping = *message.mutable_stopping();
  stopping.set_max_new_tokens(7);
  stopping.add_stop_texts("stop");
  stopping.add_stop_token_ids(5);
  stopping.set_ignore_eos(true);
  stopping.set_min_new_tokens(2);
  message.mutable_output()->set_token_ids(true);
  message.mutable_output()->set_logprobs(3);
  message.mutable_output()->set_echo(true);
  message.mutable_output()->mutable_save_state();
  message.set_request_id("id");
  message.set_client("me");
  message.set_n(2);
  message.set_best_of(4);
  message.mutable_structured()->set_regex("a+");
  const engine::GenerationParameters parameters = ToEngine(message);
  EXPECT_EQ(std::get<Ids>(parameters.prompt), (Ids{3, 1, 25}));
  EXPECT_EQ(parameters.stopping.max_new_tokens, 7);
  EXPECT_EQ(parameters.stopping.stop_texts, std::vector<std::string>{"stop"});
  EXPECT_EQ(parameters.stopping.stop_token_ids, Ids{5});
  EXPECT_TRUE(parameters.stopping.ignore_eos);
  EXPECT_EQ(parameters.stopping.min_new_tokens, 2);
  EXPECT_TRUE(parameters.output.token_ids);
  EXPECT_EQ(parameters.output.logprobs, 3);
  EXPECT_TRUE(parameters.output.echo);
  EXPECT_TRUE(parameters.output.save_state);
  EXPECT_EQ(parameters.request_id, "id");
  EXPECT_EQ(parameters.client, "me");
  EXPECT_EQ(parameters.n, 2);
  EXPECT_EQ(parameters.best_of, 4);
  EXPECT_EQ(parameters.structured, ConstraintSpecOf(message.structured()));
  EXPECT_EQ(parameters.resume, nullptr);

  message.set_text("abc");
  EXPECT_EQ(std::get<std::string_view>(ToEngine(message).prompt), "abc");
}

TEST(GenerationRequestTest, CopiesTheSampling) {
  v1::GenerationParameters message;
  v1::Sampling& sampling = *message.mutable_sampling();
  // Zeros that are set do not count as absent.
  sampling.set_temperature(0);
  sampling.set_top_k(0);
  sampling.set_top_p(1);
  sampling.set_min_p(0);
  sampling.set_repetition_penalty(1);
  sampling.set_presence_penalty(2);
  sampling.set_frequency_penalty(3);
  sampling.set_no_repeat_ngram_size(0);
  (*sampling.mutable_logit_bias())[7] = -4;
  sampling.set_seed(0);
  const engine::GenerationParameters::Sampling copy = ToEngine(message).sampling;
  EXPECT_EQ(copy.temperature, 0.0f);
  EXPECT_EQ(copy.top_k, 0);
  EXPECT_EQ(copy.top_p, 1.0f);
  EXPECT_EQ(copy.min_p, 0.0f);
  EXPECT_EQ(copy.repetition_penalty, 1.0f);
  EXPECT_EQ(copy.presence_penalty, 2.0f);
  EXPECT_EQ(copy.frequency_penalty, 3.0f);
  EXPECT_EQ(copy.no_repeat_ngram_size, 0);
  EXPECT_EQ(copy.logit_bias.at(7), -4.0f);
  EXPECT_EQ(copy.seed, 0);
}

TEST(GenerationRequestTest, WhatTheMessageLacksIsUnset) {
  const v1::GenerationParameters message;
  const engine::GenerationParameters parameters = ToEngine(message);
  const engine::GenerationParameters::Sampling& sampling = parameters.sampling;
  EXPECT_TRUE(std::holds_alternative<std::monostate>(parameters.prompt));
  EXPECT_FALSE(parameters.n || parameters.best_of || parameters.structured);
  EXPECT_FALSE(parameters.stopping.max_new_tokens || parameters.output.logprobs);
  EXPECT_FALSE(parameters.output.save_state);
  EXPECT_FALSE(sampling.temperature || sampling.top_k || sampling.top_p || sampling.min_p);
  EXPECT_FALSE(sampling.repetition_penalty || sampling.presence_penalty);
  EXPECT_FALSE(sampling.frequency_penalty || sampling.seed || sampling.no_repeat_ngram_size);
}

TEST(GenerationRequestTest, SpecialTokensAreAddedAndRecognizedByDefault) {
  v1::GenerationParameters message;
  EXPECT_TRUE(ToEngine(message).tokenization.add_special_tokens);
  EXPECT_FALSE(ToEngine(message).tokenization.plain_text);
  message.mutable_tokenization()->set_omit_special_tokens(true);
  message.mutable_tokenization()->set_plain_text(true);
  EXPECT_FALSE(ToEngine(message).tokenization.add_special_tokens);
  EXPECT_TRUE(ToEngine(message).tokenization.plain_text);
}

TEST(GenerationRequestTest, AnUnknownPriorityIsAnError) {
  v1::GenerationParameters message;
  EXPECT_EQ(*ToEngine(message).priority, engine::RequestPriority::kNormal);
  message.set_priority(v1::REQUEST_PRIORITY_HIGH);
  EXPECT_EQ(*ToEngine(message).priority, engine::RequestPriority::kHigh);
  message.set_priority(v1::REQUEST_PRIORITY_LOW);
  EXPECT_EQ(*ToEngine(message).priority, engine::RequestPriority::kLow);
  message.set_priority(static_cast<v1::RequestPriority>(7));
  EXPECT_EQ(engine::FieldOf(ToEngine(message).priority.status()), "priority");
}

TEST(GenerationRequestTest, EachStructuredFormHasItsKind) {
  using Kind = engine::ConstraintSpec::Kind;
  v1::StructuredOutput structured;
  EXPECT_EQ(ConstraintSpecOf(structured), std::nullopt);
  structured.set_regex("a");
  EXPECT_EQ(ConstraintSpecOf(structured), (engine::ConstraintSpec{Kind::kRegex, {"a"}}));
  structured.set_json_schema("{}");
  EXPECT_EQ(ConstraintSpecOf(structured), (engine::ConstraintSpec{Kind::kJsonSchema, {"{}"}}));
  for (const char* text : {"b", "c"}) structured.mutable_choices()->add_texts(text);
  EXPECT_EQ(ConstraintSpecOf(structured), (engine::ConstraintSpec{Kind::kChoices, {"b", "c"}}));
}

TEST(GenerationRequestTest, TheClientIsToldTheValuesInForce) {
  engine::ResolvedGeneration resolved;
  resolved.request.sampling.top_k = 5;
  resolved.request.sampling.seed = 42;
  resolved.request.sampling.logit_bias = {{7, -4.0f}};
  resolved.request.max_new_tokens = 9;
  resolved.n = 3;
  const v1::ResolvedParameters told = ResolvedParametersOf(resolved);
  EXPECT_EQ(told.sampling().temperature(), 1.0f);
  EXPECT_EQ(told.sampling().top_k(), 5);
  EXPECT_EQ(told.sampling().seed(), 42);
  EXPECT_EQ(told.sampling().logit_bias().at(7), -4.0f);
  EXPECT_EQ(told.max_new_tokens(), 9);
  EXPECT_EQ(told.n(), 3);
}

TEST(GenerationRequestTest, EveryWrongFieldIsAViolation) {
  v1::GenerationParameters message;  // no prompt
  message.set_n(0);
  message.set_priority(static_cast<v1::RequestPriority>(7));
  message.mutable_structured()->set_regex("(");
  message.mutable_stopping()->add_stop_texts("");
  engine::ModelInfo info;
  info.vocab_size = 26;
  const engine::FakeTokenizer tokenizer{{"a"}};
  engine::ConstraintCache constraints{std::make_shared<engine::VocabularyTrie>(tokenizer, 26)};
  const absl::Status status =
      engine::ResolveGeneration(ToEngine(message), {.info = info,
                                                    .tokenizer = tokenizer,
                                                    .defaults = engine::GenerationDefaults(),
                                                    .constraints = constraints,
                                                    .limits = {}})
          .status();
  const auto detail = DetailOf<google::rpc::BadRequest>(ToGrpc(status));
  ASSERT_TRUE(detail);
  std::vector<std::string> fields;
  for (const auto& violation : detail->field_violations()) fields.push_back(violation.field());
  EXPECT_THAT(fields, testing::ElementsAre("priority", "n", "structured.regex",
                                           "stopping.stop_texts[0]", "prompt"));
}

grpc::ByteBuffer Bytes(const std::string& text) {
  const grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
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
