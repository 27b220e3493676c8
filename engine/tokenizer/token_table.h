// Maps token ids to their bytes, for decoding.
#ifndef WHIPSNAKE_ENGINE_TOKENIZER_TOKEN_TABLE_H_
#define WHIPSNAKE_ENGINE_TOKENIZER_TOKEN_TABLE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/bpe.h"

namespace whipsnake::engine {

// Immutable and thread-safe.
class TokenTable {
 public:
  TokenTable(const Bpe& model, const AddedTokens& added);

  // One more than the largest id.
  int32_t size() const { return static_cast<int32_t>(entries_.size()); }
  // Returns the bytes that the byte-level decoder makes of a token; "" for an unknown id.
  std::string_view Bytes(int32_t id) const;
  bool IsSpecial(int32_t id) const;

 private:
  struct Entry {
    uint32_t begin = 0, length = 0;  // in bytes_
    bool special = false;
  };
  bool IsKnown(int32_t id) const { return id >= 0 && id < size(); }

  std::vector<Entry> entries_;
  std::string bytes_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_TOKENIZER_TOKEN_TABLE_H_
