#include "engine/finetune/data/examples.h"

#include <algorithm>
#include <utility>

#include "engine/base/field_errors.h"
#include "engine/base/status.h"
#include "engine/tokenizer/known_tokens.h"

namespace whipsnake::engine {
namespace {

absl::StatusOr<std::vector<int32_t>> TokenizeField(const Tokenizer& tokenizer,
                                                   std::string_view field, std::string_view text,
                                                   const EncodeOptions& options = {}) {
  absl::StatusOr<std::vector<int32_t>> tokens = tokenizer.Encode(text, options);
  if (tokens.ok()) return tokens;
  return InvalidFields(
      {{std::string(field), absl::StrCat(ToAbsl(field), ": ", tokens.status().message())}});
}

absl::Status CheckLength(std::string_view field, int64_t tokens, int64_t shortest) {
  if (tokens >= shortest) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(tokens, " tokens"), absl::StrCat("at least ", shortest));
}

int64_t LongestResponse(const TokenizedRow& row) {
  size_t longest = 0;
  for (const auto& response : row.responses) longest = std::max(longest, response.size());
  return static_cast<int64_t>(longest);
}

// Keeps `count` tokens: `first` of them from the beginning, the others from the end.
void Cut(int64_t count, int64_t first, std::vector<int32_t>* tokens) {
  const int64_t surplus = std::ssize(*tokens) - count;
  const auto from = tokens->begin() + std::clamp<int64_t>(first, 0, count);
  if (surplus > 0) tokens->erase(from, from + surplus);
}

}  // namespace

int64_t Example::tokens() const {
  int64_t tokens = 0;
  for (const auto& sequence : sequences) tokens += std::ssize(sequence);
  return tokens;
}

int64_t TokenizedRow::longest() const { return std::ssize(input) + LongestResponse(*this); }

int64_t TokenizedRow::tokens() const {
  int64_t tokens = std::ssize(input);
  for (const auto& response : responses) tokens += std::ssize(response);
  return tokens;
}

absl::StatusOr<TokenizedRow> TokenizeRow(const Tokenizer& tokenizer, Task task, int32_t end_of_text,
                                         const Row& row) {
  TokenizedRow tokenized;
  const bool is_text = HasText(task);
  ASSIGN_OR_RETURN(tokenized.input, TokenizeField(tokenizer, InputField(task), row.input,
                                                  {.add_special_tokens = is_text}));
  tokenized.prefix = std::ssize(tokenizer.prefix());
  if (is_text) {
    tokenized.suffix = std::ssize(tokenizer.suffix());
  } else {
    tokenized.input.insert(tokenized.input.begin(), tokenizer.prefix().begin(),
                           tokenizer.prefix().end());
  }
  for (const std::string& text : row.responses) {
    const std::string field = ResponseField(task, std::ssize(tokenized.responses));
    ASSIGN_OR_RETURN(std::vector<int32_t> response, TokenizeField(tokenizer, field, text));
    if (task == Task::kDpo) response.push_back(end_of_text);
    tokenized.responses.push_back(std::move(response));
  }
  return tokenized;
}

absl::Status CheckLengths(Task task, int64_t shortest_text, const TokenizedRow& row) {
  RETURN_IF_ERROR(CheckLength(InputField(task), std::ssize(row.input) - row.prefix - row.suffix,
                              HasText(task) ? shortest_text : 1));
  const int64_t end_of_text = task == Task::kDpo ? 1 : 0;
  for (int64_t i = 0; i < std::ssize(row.responses); ++i) {
    RETURN_IF_ERROR(
        CheckLength(ResponseField(task, i), std::ssize(row.responses[i]) - end_of_text, 1));
  }
  return absl::OkStatus();
}

absl::Status CheckVocabulary(Task task, int64_t vocabulary, const Tokenizer& tokenizer,
                             const TokenizedRow& row) {
  RETURN_IF_ERROR(CheckKnownTokens(InputField(task), row.input, vocabulary, tokenizer));
  for (int64_t i = 0; i < std::ssize(row.responses); ++i) {
    RETURN_IF_ERROR(
        CheckKnownTokens(ResponseField(task, i), row.responses[i], vocabulary, tokenizer));
  }
  return absl::OkStatus();
}

Example MakeExample(TokenizedRow row, int64_t max_length) {
  Example example;
  if (row.responses.empty()) {
    Cut(max_length, max_length - row.suffix, &row.input);
    example.sequences.push_back(std::move(row.input));
    return example;
  }
  if (row.longest() > max_length) Cut(max_length / 2, row.prefix, &row.input);
  example.prompt_tokens = std::ssize(row.input);
  for (std::vector<int32_t>& response : row.responses) {
    const int64_t left = max_length - example.prompt_tokens;
    Cut(left, left, &response);
    std::vector<int32_t>& sequence = example.sequences.emplace_back(row.input);
    sequence.insert(sequence.end(), response.begin(), response.end());
  }
  return example;
}

}  // namespace whipsnake::engine
