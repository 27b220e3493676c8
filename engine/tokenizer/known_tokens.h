// A tokenizer may have more tokens than its model, such as one for padding that was added to the
// tokenizer alone.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_KNOWN_TOKENS_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_KNOWN_TOKENS_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "engine/tokenizer/tokenizer.h"

namespace whipsnake::engine {

// Returns INVALID_ARGUMENT, with the field attached and naming the token, if one of the ids of a
// text is not below `vocabulary`, the number of tokens that the model has.
absl::Status CheckKnownTokens(std::string_view field, std::span<const int32_t> ids,
                              int64_t vocabulary, const Tokenizer& tokenizer);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_KNOWN_TOKENS_H_
