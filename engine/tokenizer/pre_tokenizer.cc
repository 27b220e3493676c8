#include "engine/tokenizer/pre_tokenizer.h"

#include <utility>

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/characters.h"
#include "engine/tokenizer/gpt2_scanner.h"
#include "engine/tokenizer/split.h"

namespace whipsnake::engine {
namespace {

using Pieces = std::vector<std::string_view>;

// The first part of ByteLevel: puts " " before a text that does not begin with one.
class PrefixSpace : public PreTokenizerStep {
 public:
  absl::Status Split(std::string_view text, TextStore* store, Pieces* pieces) const override {
    if (text.front() != ' ') text = store->emplace_back(" ").append(text);
    pieces->push_back(text);
    return absl::OkStatus();
  }
};

class Gpt2Words : public PreTokenizerStep {
 public:
  absl::Status Split(std::string_view text, TextStore*, Pieces* pieces) const override {
    ScanGpt2Words(text, pieces);
    return absl::OkStatus();
  }
};

// The last part of ByteLevel: replaces bytes by their characters.
class BytesToCharacters : public PreTokenizerStep {
 public:
  absl::Status Split(std::string_view text, TextStore* store, Pieces* pieces) const override {
    pieces->push_back(store->emplace_back(EncodeByteLevel(text)));
    return absl::OkStatus();
  }
};

class PatternSplit : public PreTokenizerStep {
 public:
  PatternSplit(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  absl::Status Split(std::string_view text, TextStore*, Pieces* pieces) const override {
    std::vector<Span> matches;
    RETURN_IF_ERROR(pattern_.FindAll(text, &matches));
    engine::Split(text, matches, behavior_, invert_, pieces);
    return absl::OkStatus();
  }

 private:
  const Pattern pattern_;
  const SplitBehavior behavior_;
  const bool invert_;
};

// Each character of a class is a match.
class CharacterSplit : public PreTokenizerStep {
 public:
  using Predicate = bool (*)(char32_t code_point);
  CharacterSplit(Predicate matches, SplitBehavior behavior)
      : matches_(matches), behavior_(behavior) {}

  absl::Status Split(std::string_view text, TextStore*, Pieces* pieces) const override {
    std::vector<Span> matches;
    for (size_t pos = 0; pos < text.size();) {
      const size_t begin = pos;
      if (matches_(NextCodePoint(text, &pos))) matches.push_back({begin, pos});
    }
    engine::Split(text, matches, behavior_, /*invert=*/false, pieces);
    return absl::OkStatus();
  }

 private:
  const Predicate matches_;
  const SplitBehavior behavior_;
};

// Whitespace: keeps the matches of \w+|[^\w\s]+ and drops the rest. \w is as in UTS #18 and in
// Rust's regex.
class WordsAndSymbols : public PreTokenizerStep {
 public:
  absl::Status Split(std::string_view text, TextStore*, Pieces* pieces) const override {
    Class current = kSpace;
    size_t begin = 0;
    for (size_t pos = 0; pos < text.size();) {
      const size_t here = pos;
      const Class next = ClassOf(NextCodePoint(text, &pos));
      if (next == current) continue;
      if (current != kSpace) pieces->push_back(text.substr(begin, here - begin));
      current = next;
      begin = here;
    }
    if (current != kSpace) pieces->push_back(text.substr(begin));
    return absl::OkStatus();
  }

 private:
  enum Class { kSpace, kWord, kSymbol };
  static Class ClassOf(char32_t code_point) {
    if (IsWordCharacter(code_point)) return kWord;
    return IsSpace(code_point) ? kSpace : kSymbol;
  }
};

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Parse(const JsonView& view) {
  PreTokenizer pre_tokenizer;
  if (!view.is_null()) RETURN_IF_ERROR(pre_tokenizer.Append(view));
  return pre_tokenizer;
}

// NOLINTNEXTLINE(misc-no-recursion): ParseJsonObject limits the depth.
absl::Status PreTokenizer::Append(const JsonView& view) {
  ASSIGN_OR_RETURN(const std::string type, view.Type());
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const std::vector<JsonView> elements, view["pretokenizers"].Elements());
    for (const JsonView& element : elements) RETURN_IF_ERROR(Append(element));
    return absl::OkStatus();
  }
  if (type == "ByteLevel") return AppendByteLevel(view);
  final_byte_level_ = false;
  if (type == "Split") {
    ASSIGN_OR_RETURN(Pattern pattern, Pattern::Parse(view["pattern"]));
    ASSIGN_OR_RETURN(const SplitBehavior behavior, ParseSplitBehavior(view["behavior"]));
    ASSIGN_OR_RETURN(const bool invert, view["invert"].Boolean());
    steps_.push_back(std::make_unique<PatternSplit>(std::move(pattern), behavior, invert));
    if (!view["pattern"]["Regex"].is_null()) depends_on_unicode_ = true;
  } else if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool individual, view["individual_digits"].Boolean());
    depends_on_unicode_ = true;
    steps_.push_back(std::make_unique<CharacterSplit>(
        IsNumber, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
  } else if (type == "Punctuation") {
    SplitBehavior behavior = SplitBehavior::kIsolated;
    if (!view["behavior"].is_null()) {
      ASSIGN_OR_RETURN(behavior, ParseSplitBehavior(view["behavior"]));
    }
    steps_.push_back(std::make_unique<CharacterSplit>(IsPunctuation, behavior));
  } else if (type == "Whitespace") {
    steps_.push_back(std::make_unique<WordsAndSymbols>());
    depends_on_unicode_ = true;
  } else if (type == "WhitespaceSplit") {
    steps_.push_back(std::make_unique<CharacterSplit>(IsSpace, SplitBehavior::kRemoved));
  } else {
    return view.Unsupported(
        "pre-tokenizer", type,
        "ByteLevel, Split, Digits, Punctuation, Whitespace, WhitespaceSplit or Sequence");
  }
  return absl::OkStatus();
}

absl::Status PreTokenizer::AppendByteLevel(const JsonView& view) {
  ASSIGN_OR_RETURN(const bool prefix_space, view["add_prefix_space"].Boolean());
  ASSIGN_OR_RETURN(const bool use_regex, view["use_regex"].BooleanOr(true));
  if (prefix_space) steps_.push_back(std::make_unique<PrefixSpace>());
  if (use_regex) steps_.push_back(std::make_unique<Gpt2Words>());
  depends_on_unicode_ |= use_regex;
  steps_.push_back(std::make_unique<BytesToCharacters>());
  final_byte_level_ = true;
  return absl::OkStatus();
}

void PreTokenizer::KeepBytes() {
  if (final_byte_level_) steps_.pop_back();
  final_byte_level_ = false;
}

absl::Status PreTokenizer::Split(std::string_view text, TextStore* store,
                                 std::vector<std::string_view>* words) const {
  if (text.empty()) return absl::OkStatus();
  Pieces pieces = {text};
  for (const auto& step : steps_) {
    Pieces finer;
    for (const std::string_view piece : pieces) {
      RETURN_IF_ERROR(step->Split(piece, store, &finer));
    }
    pieces = std::move(finer);
  }
  words->insert(words->end(), pieces.begin(), pieces.end());
  return absl::OkStatus();
}

}  // namespace whipsnake::engine
