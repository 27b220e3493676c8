#include "server/rpc/generation_request.h"

#include <algorithm>
#include <chrono>

#include "engine/base/status.h"

namespace whipsnake::server {
namespace {

absl::StatusOr<engine::RequestPriority> PriorityOf(v1::RequestPriority priority) {
  switch (priority) {
    case v1::REQUEST_PRIORITY_HIGH:
      return engine::RequestPriority::kHigh;
    case v1::REQUEST_PRIORITY_UNSPECIFIED:
    case v1::REQUEST_PRIORITY_NORMAL:
      return engine::RequestPriority::kNormal;
    case v1::REQUEST_PRIORITY_LOW:
      return engine::RequestPriority::kLow;
    default:
      return engine::InvalidField("priority", absl::StrCat(priority),
                                  "REQUEST_PRIORITY_HIGH, _NORMAL or _LOW");
  }
}

engine::GenerationParameters::Sampling ToEngine(const v1::Sampling& sampling) {
  engine::GenerationParameters::Sampling result;
  if (sampling.has_temperature()) result.temperature = sampling.temperature();
  if (sampling.has_top_k()) result.top_k = sampling.top_k();
  if (sampling.has_top_p()) result.top_p = sampling.top_p();
  if (sampling.has_min_p()) result.min_p = sampling.min_p();
  if (sampling.has_repetition_penalty()) result.repetition_penalty = sampling.repetition_penalty();
  if (sampling.has_presence_penalty()) result.presence_penalty = sampling.presence_penalty();
  if (sampling.has_frequency_penalty()) result.frequency_penalty = sampling.frequency_penalty();
  result.logit_bias = {sampling.logit_bias().begin(), sampling.logit_bias().end()};
  if (sampling.has_no_repeat_ngram_size()) {
    result.no_repeat_ngram_size = sampling.no_repeat_ngram_size();
  }
  if (sampling.has_seed()) result.seed = sampling.seed();
  return result;
}

engine::GenerationParameters::Stopping ToEngine(const v1::Stopping& stopping) {
  engine::GenerationParameters::Stopping result;
  if (stopping.has_max_new_tokens()) result.max_new_tokens = stopping.max_new_tokens();
  result.stop_texts.assign(stopping.stop_texts().begin(), stopping.stop_texts().end());
  result.stop_token_ids.assign(stopping.stop_token_ids().begin(), stopping.stop_token_ids().end());
  result.ignore_eos = stopping.ignore_eos();
  result.min_new_tokens = stopping.min_new_tokens();
  return result;
}

engine::GenerationParameters::Output ToEngine(const v1::OutputOptions& output) {
  engine::GenerationParameters::Output result;
  result.token_ids = output.token_ids();
  if (output.has_logprobs()) result.logprobs = output.logprobs();
  result.echo = output.echo();
  result.save_state = output.has_save_state();
  return result;
}

v1::Sampling ToProto(const engine::SamplingParameters& sampling) {
  v1::Sampling proto;
  proto.set_temperature(sampling.temperature);
  proto.set_top_k(static_cast<int32_t>(sampling.top_k));
  proto.set_top_p(sampling.top_p);
  proto.set_min_p(sampling.min_p);
  proto.set_repetition_penalty(sampling.repetition_penalty);
  proto.set_presence_penalty(sampling.presence_penalty);
  proto.set_frequency_penalty(sampling.frequency_penalty);
  proto.mutable_logit_bias()->insert(sampling.logit_bias.begin(), sampling.logit_bias.end());
  proto.set_no_repeat_ngram_size(static_cast<int32_t>(sampling.no_repeat_ngram_size));
  proto.set_seed(sampling.seed);
  return proto;
}

}  // namespace

engine::GenerationParameters ToEngine(const v1::GenerationParameters& parameters) {
  engine::GenerationParameters result;
  result.request_id = parameters.request_id();
  result.client = parameters.client();
  result.priority = PriorityOf(parameters.priority());
  if (parameters.has_n()) result.n = parameters.n();
  if (parameters.has_best_of()) result.best_of = parameters.best_of();
  result.sampling = ToEngine(parameters.sampling());
  result.structured = ConstraintSpecOf(parameters.structured());
  result.stopping = ToEngine(parameters.stopping());
  result.output = ToEngine(parameters.output());
  result.tokenization = EncodeOptionsOf(parameters.tokenization());
  if (parameters.has_text()) {
    result.prompt = std::string_view(parameters.text());
  } else if (parameters.has_token_ids()) {
    const auto& ids = parameters.token_ids().ids();
    result.prompt = std::vector<int32_t>(ids.begin(), ids.end());
  }
  return result;
}

engine::EncodeOptions EncodeOptionsOf(const v1::Tokenization& tokenization) {
  return {.add_special_tokens = !tokenization.omit_special_tokens(),
          .plain_text = tokenization.plain_text()};
}

std::optional<engine::ConstraintSpec> ConstraintSpecOf(const v1::StructuredOutput& structured) {
  using Kind = engine::ConstraintSpec::Kind;
  switch (structured.form_case()) {
    case v1::StructuredOutput::kRegex:
      return engine::ConstraintSpec{Kind::kRegex, {structured.regex()}};
    case v1::StructuredOutput::kChoices:
      return engine::ConstraintSpec{
          Kind::kChoices,
          {structured.choices().texts().begin(), structured.choices().texts().end()}};
    case v1::StructuredOutput::kJsonSchema:
      return engine::ConstraintSpec{Kind::kJsonSchema, {structured.json_schema()}};
    case v1::StructuredOutput::FORM_NOT_SET:
      break;
  }
  return std::nullopt;
}

StateRetention RetentionOf(const v1::StateRetention& retention) {
  StateRetention result;
  if (retention.has_time_to_live()) {
    const google::protobuf::Duration& time = retention.time_to_live();
    // Larger than any limit, so that the product cannot overflow.
    constexpr int64_t kMostSeconds = int64_t{1} << 40;
    result.time_to_live = std::chrono::milliseconds(
        std::clamp(time.seconds(), -kMostSeconds, kMostSeconds) * 1000 + time.nanos() / 1'000'000);
  }
  if (retention.on_disk()) result.on_disk = true;
  return result;
}

v1::ResolvedParameters ResolvedParametersOf(const engine::ResolvedGeneration& resolved) {
  v1::ResolvedParameters proto;
  *proto.mutable_sampling() = ToProto(resolved.request.sampling);
  proto.set_max_new_tokens(static_cast<int32_t>(resolved.request.max_new_tokens));
  proto.set_n(resolved.n);
  if (resolved.request.constraint != nullptr) {
    for (const std::string& warning : resolved.request.constraint->warnings()) {
      proto.add_warnings("structured." + warning);
    }
  }
  return proto;
}

v1::GenerationDefaults GenerationDefaultsOf(const engine::GenerationDefaults& defaults,
                                            const engine::GenerationLimits& limits) {
  v1::GenerationDefaults proto;
  *proto.mutable_sampling() = ToProto(engine::DefaultSampling(defaults));
  proto.mutable_sampling()->clear_seed();
  proto.set_max_new_tokens(static_cast<int32_t>(engine::DefaultMaxNewTokens(defaults, limits)));
  proto.mutable_eos_token_ids()->Assign(defaults.eos_token_ids.begin(),
                                        defaults.eos_token_ids.end());
  return proto;
}

}  // namespace whipsnake::server
