#include "engine/tokenizer/token_table.h"

#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "engine/base/status.h"
#include "engine/tokenizer/byte_level.h"

namespace whipsnake::engine {

// An added token decodes to the string that it is matched by, and overrides the vocabulary's token
// with the same id. Like any other token, it is decoded from byte-level characters if all of its
// characters are such. As in `tokenizers`, a token is special if its string is the content of a
// special token.
TokenTable::TokenTable(const Bpe& model, const AddedTokens& added) {
  std::vector<std::string_view> tokens;
  const auto set = [&](int32_t id, std::string_view token) {
    if (id >= static_cast<int32_t>(tokens.size())) tokens.resize(id + 1);
    tokens[id] = token;
  };
  absl::flat_hash_set<std::string> special;
  for (const auto& [token, id] : model.vocabulary()) set(id, token);
  for (const AddedToken& token : added.tokens()) {
    set(token.id, token.form);
    if (token.special) special.insert(token.content);
  }
  entries_.resize(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::optional<std::string> decoded = DecodeByteLevel(tokens[id]);
    const std::string_view bytes = decoded ? std::string_view(*decoded) : tokens[id];
    entries_[id] = {static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(bytes.size()),
                    special.contains(ToAbsl(tokens[id]))};
    bytes_ += bytes;
  }
}

std::string_view TokenTable::Bytes(int32_t id) const {
  if (!IsKnown(id)) return "";
  return std::string_view(bytes_).substr(entries_[id].begin, entries_[id].length);
}

bool TokenTable::IsSpecial(int32_t id) const { return IsKnown(id) && entries_[id].special; }

}  // namespace whipsnake::engine
