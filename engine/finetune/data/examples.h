// The token sequences that a model is trained on.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_EXAMPLES_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_EXAMPLES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/finetune/data/row.h"
#include "engine/finetune/data/task.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::engine {

// One row, or one window of a text of many rows, ready for training.
struct Example {
  // The text; or the prompt with each choice; or the prompt with the chosen and with the rejected
  // response. For kCausalLm, the target of each token is the next one, and the last has none.
  std::vector<std::vector<int32_t>> sequences;
  // The tokens at the beginning of each sequence that are the prompt and not trained on; 0 for a
  // text.
  int64_t prompt_tokens = 0;
  int32_t label = 0;  // kClassification: index in the labels; kChoice: index of the right sequence
  float value = 0;    // kRegression: the target

  int64_t tokens() const;  // of all sequences

  bool operator==(const Example&) const = default;
};

// A tokenized row that has not been cut to a length.
struct TokenizedRow {
  std::vector<int32_t> input;  // the text or the prompt
  std::vector<std::vector<int32_t>> responses = {};
  // The tokens at the beginning and at the end of the input that the tokenizer has added.
  int64_t prefix = 0, suffix = 0;

  // Of the row's longest sequence: the input and the longest response.
  int64_t longest() const;
  int64_t tokens() const;  // of the input and all responses
};

// Tokenizes the input and each response separately. A text gets the tokens that the tokenizer puts
// around texts, a prompt those before it, as it begins a sequence. `end_of_text` is appended to the
// responses of kDpo. Returns INVALID_ARGUMENT, with the field attached, if the tokenizer refuses a
// text.
absl::StatusOr<TokenizedRow> TokenizeRow(const Tokenizer& tokenizer, Task task, int32_t end_of_text,
                                         const Row& row);

// Returns INVALID_ARGUMENT, with the field attached, if a text has fewer than `shortest_text`
// tokens, or a prompt or a response has none. Those that the tokenizer adds do not count.
absl::Status CheckLengths(Task task, int64_t shortest_text, const TokenizedRow& row);

// Returns INVALID_ARGUMENT, with the field attached, if a text has a token that is not below
// `vocabulary`, the number of tokens that the model has.
absl::Status CheckVocabulary(Task task, int64_t vocabulary, const Tokenizer& tokenizer,
                             const TokenizedRow& row);

// Returns the sequences of a row, each of at most `max_length` tokens, which is at least 2. A text
// is cut at its end. If the prompt and the longest response are longer, the prompt is cut at its
// beginning to max_length / 2 tokens, and then each response at its end to what is left. Tokens
// that the tokenizer has added stay.
Example MakeExample(TokenizedRow row, int64_t max_length);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_EXAMPLES_H_
