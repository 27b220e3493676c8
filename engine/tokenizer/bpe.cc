#include "engine/tokenizer/bpe.h"

#include <algorithm>
#include <functional>
#include <queue>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/byte_level.h"

namespace whipsnake::engine {
namespace {

// Words of at most this many symbols are merged by scanning for the best pair, longer ones with a
// queue.
constexpr size_t kLongestScanned = 40;

}  // namespace

int32_t Bpe::Find(std::string_view token) const {
  const auto found = vocabulary_.find(ToAbsl(token));
  return found == vocabulary_.end() ? -1 : found->second;
}

absl::Status Bpe::Encode(std::string_view word, Alphabet alphabet, std::vector<int32_t>* ids,
                         bool as_whole) const {
  if (ignore_merges_ && as_whole) {
    const auto& words = alphabet == Alphabet::kBytes ? whole_words_ : vocabulary_;
    if (const auto found = words.find(ToAbsl(word)); found != words.end()) {
      ids->push_back(found->second);
      return absl::OkStatus();
    }
  }
  const size_t first = ids->size();
  if (alphabet == Alphabet::kBytes) {
    for (const char byte : word) ids->push_back(byte_ids_[static_cast<uint8_t>(byte)]);
  } else {
    RETURN_IF_ERROR(Symbolize(word, ids));
  }
  if (ids->size() - first <= kLongestScanned) {
    MergeByScan(ids, first);
  } else {
    MergeByQueue(ids, first);
  }
  return absl::OkStatus();
}

// Makes one symbol per character. A character that is not in the vocabulary is spelled as bytes,
// becomes the unknown token, or is dropped if there is no unknown token. As in `tokenizers`, an
// unknown token is emitted only before the next character that is not spelled as bytes, or at the
// end, so it comes after those bytes.
absl::Status Bpe::Symbolize(std::string_view word, std::vector<int32_t>* symbols) const {
  const int32_t unknown = has_unknown_ ? Find(unknown_token_) : -1;
  bool waiting = false;
  for (size_t pos = 0; pos < word.size();) {
    const size_t begin = pos;
    NextCodePoint(word, &pos);
    const std::string_view character = word.substr(begin, pos - begin);
    if (const int32_t id = Find(character); id >= 0) {
      if (waiting) symbols->push_back(unknown);
      waiting = false;
      symbols->push_back(id);
    } else if (byte_fallback_ && FallBackToBytes(character, symbols)) {
      continue;
    } else if (has_unknown_) {
      if (unknown < 0) {
        return absl::InvalidArgumentError(absl::StrCat(
            "the tokenizer has no token for ", Quoted(character), ", and its unk_token ",
            Quoted(unknown_token_), " is not in its vocabulary"));
      }
      if (waiting && !fuse_unknown_) symbols->push_back(unknown);
      waiting = true;
    }
  }
  if (waiting) symbols->push_back(unknown);
  return absl::OkStatus();
}

bool Bpe::FallBackToBytes(std::string_view character, std::vector<int32_t>* symbols) const {
  const size_t first = symbols->size();
  for (const char byte : character) {
    const int32_t id = Find(absl::StrFormat("<0x%02X>", static_cast<uint8_t>(byte)));
    if (id < 0) {
      symbols->resize(first);
      return false;
    }
    symbols->push_back(id);
  }
  return true;
}

Bpe::Merge Bpe::FindMerge(int32_t left, int32_t right) const {
  const auto found = merges_.find(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right));
  return found == merges_.end() ? Merge() : found->second;
}

// Merges the symbols from `first` on, each time the pair of lowest rank, the leftmost among equals.
void Bpe::MergeByScan(std::vector<int32_t>* symbols, size_t first) const {
  std::vector<int32_t>& ids = *symbols;
  if (ids.size() - first < 2) return;
  absl::InlinedVector<Merge, kLongestScanned> pairs;  // pairs[i] joins ids[first + i] and the next
  for (size_t i = first; i + 1 < ids.size(); ++i) pairs.push_back(FindMerge(ids[i], ids[i + 1]));
  while (!pairs.empty()) {
    const auto best = std::min_element(
        pairs.begin(), pairs.end(), [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
    if (!best->exists()) break;
    const size_t i = best - pairs.begin();
    ids[first + i] = best->id;
    ids.erase(ids.begin() + first + i + 1);
    pairs.erase(best);
    if (i > 0) pairs[i - 1] = FindMerge(ids[first + i - 1], ids[first + i]);
    if (i < pairs.size()) pairs[i] = FindMerge(ids[first + i], ids[first + i + 1]);
  }
}

// Merges in the same order in O(n log n), with a queue of pairs over a linked list. A queued pair
// whose symbols have changed since is stale and is skipped.
void Bpe::MergeByQueue(std::vector<int32_t>* symbols, size_t first) const {
  struct Node {
    int32_t id;  // -1 if merged into the previous node
    int32_t previous, next;
  };
  struct Candidate {
    Merge merge;
    int32_t left;
    bool operator<(const Candidate& other) const {  // std::priority_queue returns the greatest
      if (merge.rank != other.merge.rank) return merge.rank > other.merge.rank;
      return left > other.left;
    }
  };
  const int32_t count = static_cast<int32_t>(symbols->size() - first);
  std::vector<Node> nodes(count);
  for (int32_t i = 0; i < count; ++i) nodes[i] = {(*symbols)[first + i], i - 1, i + 1};

  std::vector<Candidate> initial;
  for (int32_t i = 0; i + 1 < count; ++i) {
    if (const Merge merge = FindMerge(nodes[i].id, nodes[i + 1].id); merge.exists()) {
      initial.push_back({merge, i});
    }
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(initial));
  const auto offer = [&](int32_t left) {
    if (left < 0 || nodes[left].next >= count) return;
    const Merge merge = FindMerge(nodes[left].id, nodes[nodes[left].next].id);
    if (merge.exists()) queue.push({merge, left});
  };

  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Node& left = nodes[top.left];
    if (left.id < 0 || left.next >= count) continue;
    Node& right = nodes[left.next];
    if (FindMerge(left.id, right.id).rank != top.merge.rank) continue;
    left.id = top.merge.id;
    right.id = -1;
    left.next = right.next;
    if (left.next < count) nodes[left.next].previous = top.left;
    offer(left.previous);
    offer(top.left);
  }

  symbols->resize(first);
  for (int32_t i = 0; i < count; i = nodes[i].next) symbols->push_back(nodes[i].id);
}

}  // namespace whipsnake::engine
