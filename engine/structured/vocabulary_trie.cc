#include "engine/structured/vocabulary_trie.h"

#include <algorithm>

namespace whipsnake::engine {
namespace {

// Longer tokens are left out, so that a node's depth fits into its field.
constexpr size_t kMaxTokenBytes = 1024;

}  // namespace

VocabularyTrie::VocabularyTrie(const Tokenizer& tokenizer, int64_t vocab_size)
    : vocab_size_(std::min<int64_t>(vocab_size, tokenizer.size())), bytes_(vocab_size_) {
  for (int32_t id = 0; id < vocab_size_; ++id) {
    if (tokenizer.IsSpecial(id)) continue;
    bytes_[id] = tokenizer.TokenBytes(id);
    if (bytes_[id].size() > kMaxTokenBytes) bytes_[id].clear();
    if (!bytes_[id].empty()) tokens_.push_back(id);
    if (bytes_[id].size() == 1) single_bytes_.Add(static_cast<uint8_t>(bytes_[id].front()));
    longest_ = std::max<int64_t>(longest_, std::ssize(bytes_[id]));
  }
  std::ranges::sort(tokens_, {},
                    [&](int32_t id) { return std::pair(std::string_view(bytes_[id]), id); });

  std::vector<uint32_t> open;  // the nodes from the root to the last token
  const auto close_to = [&](size_t depth) {
    for (; open.size() > depth; open.pop_back()) {
      nodes_[open.back()].end = static_cast<uint32_t>(nodes_.size());
    }
  };
  std::string_view last;
  for (uint32_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view bytes = bytes_[tokens_[i]];
    const size_t common = std::ranges::mismatch(last, bytes).in2 - bytes.begin();
    close_to(common);
    for (size_t depth = common; depth < bytes.size(); ++depth) {
      open.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({.end = 0,
                        .tokens_begin = i,
                        .tokens_end = i,
                        .depth = static_cast<uint16_t>(depth + 1),
                        .byte = static_cast<uint8_t>(bytes[depth])});
    }
    nodes_[open.back()].tokens_end = i + 1;
    last = bytes;
  }
  close_to(0);
}

}  // namespace whipsnake::engine
