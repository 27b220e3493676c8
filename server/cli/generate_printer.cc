#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/base/human.h"
#include "server/cli/generate.h"

namespace whipsnake::server {
namespace {

Json SamplingJson(const v1::Sampling& sampling) {
  Json json = {{"temperature", sampling.temperature()},
               {"top_k", sampling.top_k()},
               {"top_p", sampling.top_p()},
               {"min_p", sampling.min_p()},
               {"repetition_penalty", sampling.repetition_penalty()},
               {"presence_penalty", sampling.presence_penalty()},
               {"frequency_penalty", sampling.frequency_penalty()},
               {"no_repeat_ngram_size", sampling.no_repeat_ngram_size()},
               {"seed", sampling.seed()}};
  for (const auto& [id, bias] : sampling.logit_bias()) json["logit_bias"][absl::StrCat(id)] = bias;
  return json;
}

Json ResolvedJson(const v1::ResolvedParameters& resolved) {
  Json json = {{"model", resolved.model()},
               {"request_id", resolved.request_id()},
               {"sampling", SamplingJson(resolved.sampling())},
               {"max_new_tokens", resolved.max_new_tokens()}};
  for (const std::string& warning : resolved.warnings()) json["warnings"].push_back(warning);
  return json;
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

// The contents of a delta or a completion.
template <typename Piece>
Json PieceJson(const Piece& delta) {
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

Json CompletionJson(const v1::Completion& completion) {
  Json json = PieceJson(completion);
  json["finish_reason"] = FinishReasonName(completion.finish_reason());
  if (!completion.state().empty()) json["state"] = completion.state();
  return json;
}

std::string LogprobsTable(const v1::Completion& completion) {
  const auto cell = [](const v1::TokenLogprob& token) {
    return absl::StrCat(Json(token.text()).dump(-1, ' ', false, Json::error_handler_t::replace),
                        absl::StrFormat(" %.3f", token.logprob()));
  };
  std::vector<std::vector<std::string>> rows = {{"TOKEN", "BEST"}};
  for (const v1::TokenLogprobs& token : completion.logprobs()) {
    std::string best;
    for (const v1::TokenLogprob& other : token.top()) {
      absl::StrAppend(&best, best.empty() ? "" : "  ", cell(other));
    }
    rows.push_back({cell(token.chosen()), best});
  }
  return Table(rows);
}

// "24 tokens (length), 57.1 tokens/s, the first after 12.3 ms"
std::string Summary(const std::vector<v1::Completion>& completions, const v1::Usage& usage,
                    const v1::Timings& timings) {
  std::string text = absl::StrCat(usage.generated_tokens(), " tokens");
  if (completions.size() == 1) {
    absl::StrAppend(&text, " (", FinishReasonName(completions.front().finish_reason()), ")");
  }
  if (usage.cached_prompt_tokens() > 0) {
    absl::StrAppend(&text, ", ", usage.cached_prompt_tokens(), " of the prompt's ",
                    usage.prompt_tokens(), " were known");
  }
  if (timings.mean_inter_token_seconds() > 0) {
    absl::StrAppend(&text, ", ", engine::HumanNumber(1 / timings.mean_inter_token_seconds(), 3),
                    " tokens/s");
  }
  absl::StrAppend(&text, ", the first after ",
                  engine::HumanDuration(timings.time_to_first_token_seconds()));
  return text;
}

}  // namespace

std::string FinishReasonName(v1::FinishReason reason) {
  constexpr std::string_view kPrefix = "FINISH_REASON_";
  return absl::AsciiStrToLower(v1::FinishReason_Name(reason).substr(kPrefix.size()));
}

void StreamPrinter::Print(const v1::StreamGenerateResponse& event) {
  switch (event.event_case()) {
    case v1::StreamGenerateResponse::kStarted:
      SetResolved(event.started().resolved());
      if (output_.json()) {
        output_.Object({{"event", "started"},
                        {"prompt_tokens", event.started().prompt_tokens()},
                        {"cached_prompt_tokens", event.started().cached_prompt_tokens()}});
      }
      break;
    case v1::StreamGenerateResponse::kDelta:
      PrintDelta(event.delta());
      break;
    case v1::StreamGenerateResponse::kFinished: {
      const auto& finished = event.finished();
      for (int i = 0; i < finished.finish_reasons_size(); ++i) {
        CompletionAt(i).set_finish_reason(finished.finish_reasons(i));
      }
      for (int i = 0; i < finished.states_size(); ++i)
        CompletionAt(i).set_state(finished.states(i));
      PrintResult(finished.usage(), finished.timings());
      break;
    }
    case v1::StreamGenerateResponse::EVENT_NOT_SET:  // a newer server's event
      break;
  }
}

void StreamPrinter::Print(const v1::GenerateResponse& response) {
  SetResolved(response.resolved());
  completions_.assign(response.completions().begin(), response.completions().end());
  if (!output_.json() && !several()) std::cout << CompletionAt(0).text();
  PrintResult(response.usage(), response.timings());
}

void StreamPrinter::SetResolved(const v1::ResolvedParameters& resolved) {
  resolved_ = resolved;
  if (output_.json()) return;  // the result has them
  for (const std::string& warning : resolved.warnings())
    std::cerr << "warning: " << warning << "\n";
}

v1::Completion& StreamPrinter::CompletionAt(int index) {
  while (std::ssize(completions_) <= index) {
    completions_.emplace_back().set_index(static_cast<int>(completions_.size()) - 1);
  }
  return completions_[index];
}

void StreamPrinter::PrintDelta(const v1::StreamGenerateResponse::Delta& delta) {
  v1::Completion& completion = CompletionAt(delta.index());
  completion.mutable_text()->append(delta.text());
  completion.mutable_token_ids()->MergeFrom(delta.token_ids());
  completion.mutable_logprobs()->MergeFrom(delta.logprobs());
  if (output_.json()) {
    Json json = {
        {"event", "delta"}, {"sequence_number", delta.sequence_number()}, {"index", delta.index()}};
    json.update(PieceJson(delta));
    output_.Object(json);
  } else if (!several()) {
    std::cout << delta.text() << std::flush;
  }
}

void StreamPrinter::PrintCompletion(const v1::Completion& completion) const {
  if (several()) {
    std::cout << "[" << completion.index() + 1 << "/" << completions_.size() << "] "
              << completion.text();
  }
  std::cout << "\n";
  if (flags_.token_ids) std::cout << absl::StrJoin(completion.token_ids(), " ") << "\n";
  if (flags_.logprobs) std::cout << LogprobsTable(completion);
  std::cout << std::flush;
  if (!completion.state().empty()) std::cerr << "state " << completion.state() << "\n";
}

void StreamPrinter::PrintResult(const v1::Usage& usage, const v1::Timings& timings) {
  CompletionAt(0);
  if (!output_.json()) {
    for (const v1::Completion& completion : completions_) PrintCompletion(completion);
    if (StderrIsTerminal()) std::cerr << Dim(Summary(completions_, usage, timings)) << "\n";
    return;
  }
  Json json = CompletionJson(completions_.front());
  if (several()) {
    for (const v1::Completion& completion : completions_) {
      json["completions"].push_back(CompletionJson(completion));
    }
  }
  json["usage"] = UsageJson(usage);
  json["timings"] = TimingsJson(timings);
  json["resolved"] = ResolvedJson(resolved_);
  output_.Object(json);
}

void StreamPrinter::BreakOff() const {
  if (!output_.json() && !several() && !completions_.empty()) std::cout << std::endl;
}

}  // namespace whipsnake::server
