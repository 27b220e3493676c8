#include "engine/tokenizer/added_tokens.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/characters.h"

namespace whipsnake::engine {
namespace {

// In bytes. Bounds the work at one position of a text.
constexpr size_t kLongestAddedToken = 1024;

bool IsWholeWord(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && IsWordCharacter(CodePointBefore(text, begin))) return false;
  return end == text.size() || !IsWordCharacter(NextCodePoint(text, &end));
}

// Returns where the white space before `pos` begins, looking no further back than `limit`.
size_t SpacesBefore(std::string_view text, size_t pos, size_t limit) {
  while (pos > limit) {
    const char32_t code_point = CodePointBefore(text, pos);
    if (!IsSpace(code_point)) break;
    pos = CharacterBegin(text, pos - 1);
  }
  return pos;
}

size_t SpacesAfter(std::string_view text, size_t pos) {
  for (size_t next = pos; pos < text.size() && IsSpace(NextCodePoint(text, &next));) pos = next;
  return pos;
}

}  // namespace

StringMatcher::StringMatcher() { roots_.fill(-1); }

bool StringMatcher::Add(std::string_view text, int32_t value) {
  if (text.empty()) return false;
  const auto node_at = [this](int32_t* node) {
    if (*node < 0) {
      *node = static_cast<int32_t>(values_.size());
      values_.push_back(-1);
    }
    return *node;
  };
  int32_t node = node_at(&roots_[static_cast<uint8_t>(text[0])]);
  for (const char byte : text.substr(1)) {
    const uint64_t key = static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte);
    node = node_at(&children_.try_emplace(key, -1).first->second);
  }
  if (values_[node] >= 0) return false;
  values_[node] = value;
  return true;
}

StringMatcher::Match StringMatcher::Find(std::string_view text, size_t from) const {
  for (size_t begin = from; !values_.empty() && begin < text.size(); ++begin) {
    if (roots_[static_cast<uint8_t>(text[begin])] < 0) continue;
    const Match match = LongestAt(text, begin);
    if (match.value >= 0) return match;
  }
  return {text.size(), text.size(), -1};
}

StringMatcher::Match StringMatcher::LongestAt(std::string_view text, size_t begin) const {
  Match longest = {begin, begin, -1};
  int32_t node = roots_[static_cast<uint8_t>(text[begin])];
  for (size_t end = begin + 1; node >= 0; ++end) {
    if (values_[node] >= 0) longest = {begin, end, values_[node]};
    if (end == text.size()) break;
    node = Child(node, static_cast<uint8_t>(text[end]));
  }
  return longest;
}

int32_t StringMatcher::Child(int32_t node, uint8_t byte) const {
  const auto found = children_.find(static_cast<uint64_t>(node) << 8 | byte);
  return found == children_.end() ? -1 : found->second;
}

absl::StatusOr<AddedTokens> AddedTokens::Parse(const JsonView& view, const Bpe& model,
                                               const Normalizer& normalizer) {
  AddedTokens added;
  added.next_id_ = static_cast<int32_t>(model.vocabulary().size());
  if (view.is_null()) return added;
  ASSIGN_OR_RETURN(const std::vector<JsonView> elements, view.Elements());
  for (const JsonView& element : elements) {
    RETURN_IF_ERROR(added.Add(element, model, normalizer));
  }
  return added;
}

absl::Status AddedTokens::Add(const JsonView& view, const Bpe& model,
                              const Normalizer& normalizer) {
  AddedToken token;
  ASSIGN_OR_RETURN(token.content, view["content"].Text());
  ASSIGN_OR_RETURN(token.single_word, view["single_word"].Boolean());
  ASSIGN_OR_RETURN(token.lstrip, view["lstrip"].Boolean());
  ASSIGN_OR_RETURN(token.rstrip, view["rstrip"].Boolean());
  ASSIGN_OR_RETURN(token.normalized, view["normalized"].Boolean());
  ASSIGN_OR_RETURN(token.special, view["special"].Boolean());
  if (token.content.empty() || token.content.size() > kLongestAddedToken) {
    return view["content"].Invalid(absl::StrCat("1 to ", kLongestAddedToken, " bytes"));
  }

  token.id = model.Find(token.content);
  if (token.id < 0) token.id = next_id_++;
  const JsonView id_view = view["id"];
  const nlohmann::json& id = id_view.value();
  if (!id.is_number_unsigned() || std::cmp_not_equal(id.get<uint64_t>(), token.id) ||
      token.id >= kMaxTokenIds) {
    return id_view.Invalid(absl::StrCat(token.id, ", which is the id of ", Quoted(token.content)));
  }
  const size_t index = tokens_.size();
  if (!by_content_.emplace(token.content, index).second) {
    return view["content"].Invalid("a token that was not added before");
  }

  token.form = token.content;
  if (token.normalized) {
    ASSIGN_OR_RETURN(token.form, normalizer.Apply(token.content));
  }
  StringMatcher& matcher = token.normalized ? normalized_ : raw_;
  if (!matcher.Add(token.form, static_cast<int32_t>(index))) {
    return view["content"].Invalid("a token whose normal form is its own and not empty");
  }
  tokens_.push_back(std::move(token));
  return absl::OkStatus();
}

int32_t AddedTokens::Find(std::string_view content) const {
  const auto found = by_content_.find(ToAbsl(content));
  return found == by_content_.end() ? -1 : tokens_[found->second].id;
}

bool AddedTokens::IsSpecial(std::string_view content) const {
  const auto found = by_content_.find(ToAbsl(content));
  return found != by_content_.end() && tokens_[found->second].special;
}

// White space that one token absorbs may also be matched by the next token. As in `tokenizers`,
// both tokens are then returned, and the text after them starts at the end of the second one.
void AddedTokens::Split(std::string_view text, bool normalized, bool plain_text,
                        std::vector<Piece>* pieces) const {
  const StringMatcher& matcher = normalized ? normalized_ : raw_;
  size_t covered = 0;
  size_t spaces_end = 0;  // end of the white space that the last token absorbed
  for (auto match = matcher.Find(text, 0); match.value >= 0;
       match = matcher.Find(text, match.end)) {
    const AddedToken& token = tokens_[match.value];
    if (plain_text && token.special) continue;
    if (token.single_word && !IsWholeWord(text, match.begin, match.end)) continue;
    size_t begin = match.begin;
    if (token.lstrip) begin = std::max(SpacesBefore(text, begin, covered), covered);
    size_t end = match.end;
    if (token.rstrip) {
      // Whitespace tokens may follow one another within a long run of white space, so reuse its
      // end.
      if (spaces_end < match.end) spaces_end = SpacesAfter(text, match.end);
      end = spaces_end;
    }
    if (covered < begin) pieces->push_back({text.substr(covered, begin - covered), -1});
    pieces->push_back({text.substr(match.begin, match.end - match.begin), token.id});
    covered = end;
  }
  if (covered < text.size()) pieces->push_back({text.substr(covered), -1});
}

}  // namespace whipsnake::engine
