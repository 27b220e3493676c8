// The sequences of a batch as rows of tokens, one after another without padding.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_TOKEN_ROWS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_TOKEN_ROWS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/finetune/data/examples.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

struct TokenRows {
  std::vector<int32_t> tokens;               // [T]
  std::vector<kernels::RowRange> sequences;  // of the rows
  std::vector<int64_t> prompt_tokens;        // of each sequence

  explicit TokenRows(std::span<const Example> examples) {
    for (const Example& example : examples) {
      for (const std::vector<int32_t>& sequence : example.sequences) {
        sequences.push_back({std::ssize(tokens), std::ssize(sequence)});
        tokens.insert(tokens.end(), sequence.begin(), sequence.end());
        prompt_tokens.push_back(example.prompt_tokens);
      }
    }
  }
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_TOKEN_ROWS_H_
