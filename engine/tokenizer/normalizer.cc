#include "engine/tokenizer/normalizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/regex.h"
#include "engine/tokenizer/split.h"
#include "unicode/bytestream.h"
#include "unicode/normalizer2.h"
#include "unicode/uchar.h"
#include "unicode/uniset.h"

namespace whipsnake::engine {
namespace {

// NFC, NFD, NFKC and NFKD. `tokenizers` 0.23 uses the tables of Unicode 9.0, in which a later
// character has no decomposition and no combining class. Vocabularies are made with these tables,
// so the same holds here, whatever the Unicode version of ICU.
class UnicodeForm : public NormalizerStep {
 public:
  static absl::StatusOr<std::unique_ptr<UnicodeForm>> Create(const std::string& type) {
    UErrorCode error = U_ZERO_ERROR;
    const icu::Normalizer2* form = type == "NFC"    ? icu::Normalizer2::getNFCInstance(error)
                                   : type == "NFD"  ? icu::Normalizer2::getNFDInstance(error)
                                   : type == "NFKC" ? icu::Normalizer2::getNFKCInstance(error)
                                                    : icu::Normalizer2::getNFKDInstance(error);
    static const icu::UnicodeSet* const unicode_9 = [] {
      UErrorCode set_error = U_ZERO_ERROR;
      auto* set = new icu::UnicodeSet(UNICODE_STRING_SIMPLE("[:Age=9.0:]"), set_error);
      return set->freeze();
    }();
    if (U_FAILURE(error)) {
      return absl::InternalError(absl::StrCat("ICU has no ", type, ": ", u_errorName(error)));
    }
    return std::unique_ptr<UnicodeForm>(new UnicodeForm(*form, *unicode_9));
  }

  absl::Status Apply(std::string* text) const override {
    UErrorCode error = U_ZERO_ERROR;
    const icu::StringPiece piece(text->data(), static_cast<int32_t>(text->size()));
    if (form_.isNormalizedUTF8(piece, error) && U_SUCCESS(error)) return absl::OkStatus();
    std::string normalized;
    icu::StringByteSink<std::string> sink(&normalized);
    form_.normalizeUTF8(0, piece, sink, nullptr, error);
    if (U_FAILURE(error)) {
      return absl::InternalError(absl::StrCat("ICU normalization: ", u_errorName(error)));
    }
    *text = std::move(normalized);
    return absl::OkStatus();
  }

 private:
  UnicodeForm(const icu::Normalizer2& form, const icu::UnicodeSet& set) : form_(form, set) {}

  const icu::FilteredNormalizer2 form_;
};

// Lowercases each code point by itself, so a final sigma gets no special form.
class Lowercase : public NormalizerStep {
 public:
  absl::Status Apply(std::string* text) const override {
    constexpr char32_t kCapitalIWithDot = 0x130;  // its lower case is two code points
    std::string lower;
    lower.reserve(text->size());
    for (size_t pos = 0; pos < text->size();) {
      const char32_t code_point = NextCodePoint(*text, &pos);
      if (code_point == kCapitalIWithDot) {
        lower += "i\xCC\x87";
      } else {
        AppendUtf8(u_tolower(code_point), &lower);
      }
    }
    *text = std::move(lower);
    return absl::OkStatus();
  }
};

class Replace : public NormalizerStep {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}

  absl::Status Apply(std::string* text) const override {
    std::vector<Span> matches;
    RETURN_IF_ERROR(pattern_.FindAll(*text, &matches));
    std::string replaced;
    size_t kept = 0;
    for (const Span& match : matches) {
      replaced.append(*text, kept, match.begin - kept);
      replaced += content_;
      kept = match.end;
    }
    replaced.append(*text, kept);
    *text = std::move(replaced);
    return absl::OkStatus();
  }

 private:
  const Pattern pattern_;
  const std::string content_;
};

class Prepend : public NormalizerStep {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}

  absl::Status Apply(std::string* text) const override {
    text->insert(0, prefix_);
    return absl::OkStatus();
  }

 private:
  const std::string prefix_;
};

}  // namespace

absl::StatusOr<Normalizer> Normalizer::Parse(const JsonView& view) {
  Normalizer normalizer;
  if (!view.is_null()) RETURN_IF_ERROR(normalizer.Append(view));
  return normalizer;
}

// NOLINTNEXTLINE(misc-no-recursion): ParseJsonObject limits the depth.
absl::Status Normalizer::Append(const JsonView& view) {
  ASSIGN_OR_RETURN(const std::string type, view.Type());
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const std::vector<JsonView> elements, view["normalizers"].Elements());
    for (const JsonView& element : elements) RETURN_IF_ERROR(Append(element));
  } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    ASSIGN_OR_RETURN(auto form, UnicodeForm::Create(type));
    steps_.push_back(std::move(form));
  } else if (type == "Lowercase") {
    steps_.push_back(std::make_unique<Lowercase>());
  } else if (type == "Replace") {
    ASSIGN_OR_RETURN(Pattern pattern, Pattern::Parse(view["pattern"]));
    ASSIGN_OR_RETURN(std::string content, view["content"].Text());
    // Longer contents, a few steps in a row, could multiply a text beyond any memory.
    constexpr size_t kLongestReplacement = 1024;
    if (content.size() > kLongestReplacement) return view["content"].Invalid("at most 1024 bytes");
    steps_.push_back(std::make_unique<Replace>(std::move(pattern), std::move(content)));
  } else if (type == "Prepend") {
    ASSIGN_OR_RETURN(std::string prefix, view["prepend"].Text());
    steps_.push_back(std::make_unique<Prepend>(std::move(prefix)));
  } else {
    return view.Unsupported("normalizer", type,
                            "NFC, NFD, NFKC, NFKD, Lowercase, Replace, Prepend or Sequence");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Normalizer::Apply(std::string_view text) const {
  // In the worst case, NFKC turns 1 byte into 11.
  const size_t limit = 64 * text.size() + 65536;
  std::string normalized(text);
  for (const auto& step : steps_) {
    if (normalized.empty()) break;
    RETURN_IF_ERROR(step->Apply(&normalized));
    if (normalized.size() > limit) {
      return absl::ResourceExhaustedError(absl::StrCat("the normalizer makes ", normalized.size(),
                                                       " bytes of a text of ", text.size(),
                                                       ", expected at most ", limit));
    }
  }
  return normalized;
}

}  // namespace whipsnake::engine
