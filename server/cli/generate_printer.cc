#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/cli/generate.h"

namespace whipsnake::server {
namespace {

// "eos"
std::string ReasonName(v1::FinishReason reason) {
  constexpr std::string_view kPrefix = "FINISH_REASON_";
  return absl::AsciiStrToLower(v1::FinishReason_Name(reason).substr(kPrefix.size()));
}

Json SamplingJson(const v1::Sampling& sampling) {
  Json json = {{"temperature", sampling.temperature()},
               {"top_k", sampling.top_k()},
               {"top_p", sampling.top_p()},
               {"min_p", sampling.min_p()},
               {"repetition_penalty", sampling.repetition_penalty()},
               {"presence_penalty", sampling.presence_penalty()},
               {"frequency_penalty", sampling.frequency_penalty()},
               {"seed", sampling.seed()}};
  for (const auto& [id, bias] : sampling.logit_bias()) json["logit_bias"][absl::StrCat(id)] = bias;
  return json;
}

Json ResolvedJson(const v1::ResolvedParameters& resolved) {
  return {{"model", resolved.model()},
          {"request_id", resolved.request_id()},
          {"sampling", SamplingJson(resolved.sampling())},
          {"max_new_tokens", resolved.max_new_tokens()}};
}

Json UsageJson(const v1::Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens()},
          {"cached_prompt_tokens", usage.cached_prompt_tokens()},
          {"generated_tokens", usage.generated_tokens()}};
}

Json TimingsJson(const v1::Timings& timings) {
  return {{"queue_seconds", timings.queue_seconds()},
          {"prefill_seconds", timings.prefill_seconds()},
          {"time_to_first_token_seconds", timings.time_to_first_token_seconds()},
          {"decode_seconds", timings.decode_seconds()},
          {"mean_inter_token_seconds", timings.mean_inter_token_seconds()}};
}

Json LogprobJson(const v1::TokenLogprob& logprob) {
  return {
      {"token_id", logprob.token_id()}, {"text", logprob.text()}, {"logprob", logprob.logprob()}};
}

// What a delta holds, and all deltas together.
Json DeltaJson(const v1::StreamGenerateResponse::Delta& delta) {
  Json json = {
      {"text", delta.text()},
      {"token_ids", std::vector<int32_t>(delta.token_ids().begin(), delta.token_ids().end())}};
  for (const v1::TokenLogprobs& token : delta.logprobs()) {
    Json entry = LogprobJson(token.chosen());
    entry["top"] = Json::array();
    for (const v1::TokenLogprob& other : token.top()) entry["top"].push_back(LogprobJson(other));
    json["logprobs"].push_back(std::move(entry));
  }
  return json;
}

std::string LogprobsTable(const v1::StreamGenerateResponse::Delta& delta) {
  const auto cell = [](const v1::TokenLogprob& token) {
    return absl::StrCat(Json(token.text()).dump(-1, ' ', false, Json::error_handler_t::replace),
                        absl::StrFormat(" %.3f", token.logprob()));
  };
  std::vector<std::vector<std::string>> rows = {{"TOKEN", "BEST"}};
  for (const v1::TokenLogprobs& token : delta.logprobs()) {
    std::string best;
    for (const v1::TokenLogprob& other : token.top()) {
      absl::StrAppend(&best, best.empty() ? "" : "  ", cell(other));
    }
    rows.push_back({cell(token.chosen()), best});
  }
  return Table(rows);
}

// "24 tokens (length), 57.1 tokens/s, the first after 12.3 ms"
std::string Summary(const v1::StreamGenerateResponse::Finished& finished) {
  const v1::Timings& timings = finished.timings();
  std::string text = absl::StrCat(finished.usage().generated_tokens(), " tokens");
  if (finished.finish_reasons_size() > 0) {
    absl::StrAppend(&text, " (", ReasonName(finished.finish_reasons(0)), ")");
  }
  if (timings.mean_inter_token_seconds() > 0) {
    absl::StrAppend(&text, ", ", HumanNumber(1 / timings.mean_inter_token_seconds()), " tokens/s");
  }
  absl::StrAppend(&text, ", the first after ", HumanSeconds(timings.time_to_first_token_seconds()));
  return text;
}

}  // namespace

void StreamPrinter::Print(const v1::StreamGenerateResponse& event) {
  switch (event.event_case()) {
    case v1::StreamGenerateResponse::kStarted:
      resolved_ = event.started().resolved();
      if (output_.json()) {
        output_.Object({{"event", "started"}, {"prompt_tokens", event.started().prompt_tokens()}});
      }
      break;
    case v1::StreamGenerateResponse::kDelta:
      PrintDelta(event.delta());
      break;
    case v1::StreamGenerateResponse::kFinished:
      PrintResult(event.finished());
      break;
    case v1::StreamGenerateResponse::EVENT_NOT_SET:  // a newer server's event
      break;
  }
}

void StreamPrinter::PrintDelta(const v1::StreamGenerateResponse::Delta& delta) {
  whole_.mutable_text()->append(delta.text());
  whole_.mutable_token_ids()->MergeFrom(delta.token_ids());
  whole_.mutable_logprobs()->MergeFrom(delta.logprobs());
  if (output_.json()) {
    Json json = {{"event", "delta"}, {"sequence_number", delta.sequence_number()}};
    json.update(DeltaJson(delta));
    output_.Object(json);
  } else {
    std::cout << delta.text() << std::flush;
  }
}

void StreamPrinter::PrintResult(const v1::StreamGenerateResponse::Finished& finished) {
  if (output_.json()) {
    Json json = DeltaJson(whole_);
    json["finish_reason"] =
        finished.finish_reasons_size() > 0 ? ReasonName(finished.finish_reasons(0)) : "";
    json["usage"] = UsageJson(finished.usage());
    json["timings"] = TimingsJson(finished.timings());
    json["resolved"] = ResolvedJson(resolved_);
    output_.Object(json);
    return;
  }
  std::cout << "\n";
  if (flags_.token_ids) std::cout << absl::StrJoin(whole_.token_ids(), " ") << "\n";
  if (flags_.logprobs) std::cout << LogprobsTable(whole_);
  std::cout << std::flush;
  if (StderrIsTerminal()) std::cerr << Dim(Summary(finished)) << "\n";
}

void StreamPrinter::BreakOff() const {
  if (!output_.json() && !whole_.text().empty()) std::cout << std::endl;
}

}  // namespace whipsnake::server
