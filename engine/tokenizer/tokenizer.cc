#include "engine/tokenizer/tokenizer.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/files.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/characters.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/post_processor.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/token_table.h"
#include "engine/tokenizer/vocabulary_files.h"
#include "unicode/uvernum.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kLargestFile = int64_t{256} << 20;
constexpr size_t kLongestText = size_t{1} << 28;  // in bytes; ICU's lengths are int32

// "decoder": accepts ByteLevel, alone or in a Sequence of one.
// NOLINTNEXTLINE(misc-no-recursion): ParseJsonObject limits the depth.
absl::Status CheckDecoder(const JsonView& view) {
  if (view.is_null()) return view.Unsupported("decoder", "null", "ByteLevel");
  ASSIGN_OR_RETURN(const std::string type, view.Type());
  if (type == "ByteLevel") return absl::OkStatus();
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const std::vector<JsonView> elements, view["decoders"].Elements());
    if (elements.size() == 1) return CheckDecoder(elements[0]);
  }
  return view.Unsupported("decoder", type, "ByteLevel");
}

// The words of one text that are already encoded, with the range of their ids in the output.
class WordCache {
 public:
  struct Range {
    size_t begin, length;
  };
  const Range* Find(std::string_view word) const {
    const auto found = ranges_.find(ToAbsl(word));
    return found == ranges_.end() ? nullptr : &found->second;
  }
  void Add(std::string_view word, Range range) {
    constexpr size_t kMaxWords = 1 << 16;
    if (ranges_.size() < kMaxWords) ranges_[ToAbsl(word)] = range;
  }

 private:
  absl::flat_hash_map<absl::string_view, Range> ranges_;
};

class JsonTokenizer : public Tokenizer {
 public:
  // `root` is an object.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(const JsonView& root);

  int32_t size() const override { return table_.size(); }
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const EncodeOptions& options) const override;
  std::span<const int32_t> prefix() const override { return post_processor_.prefix(); }
  std::span<const int32_t> suffix() const override { return post_processor_.suffix(); }
  std::string TokenBytes(int32_t id, bool skip_special) const override;
  std::string Decode(std::span<const int32_t> ids, bool skip_special) const override;
  std::string Caveat() const override;
  bool IsSpecial(int32_t id) const override { return table_.IsSpecial(id); }
  int32_t FindToken(std::string_view content) const override;

 private:
  JsonTokenizer(Normalizer normalizer, PreTokenizer pre_tokenizer, Bpe model, AddedTokens added);

  // The working state of one call of Encode.
  struct Pass {
    bool plain_text = false;
    TextStore store = {};
    WordCache cache = {};
    std::vector<int32_t> ids = {};
  };
  absl::Status EncodeBetweenRaw(std::string_view text, Pass* pass) const;
  absl::Status EncodeBetweenNormalized(std::string_view text, Pass* pass) const;
  absl::Status EncodeWord(std::string_view word, Pass* pass) const;

  const Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  const Bpe model_;
  Bpe::Alphabet alphabet_ = Bpe::Alphabet::kCharacters;
  const AddedTokens added_;
  const TokenTable table_;
  PostProcessor post_processor_;
};

absl::StatusOr<std::unique_ptr<Tokenizer>> JsonTokenizer::Create(const JsonView& root) {
  if (const JsonView version = root["version"]; !version.is_null() && version.value() != "1.0") {
    return version.Unsupported("version", version.value().dump(), "\"1.0\"");
  }
  RETURN_IF_ERROR(CheckDecoder(root["decoder"]));
  ASSIGN_OR_RETURN(Normalizer normalizer, Normalizer::Parse(root["normalizer"]));
  ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Parse(root["pre_tokenizer"]));
  ASSIGN_OR_RETURN(Bpe model, Bpe::Parse(root["model"]));
  ASSIGN_OR_RETURN(AddedTokens added, AddedTokens::Parse(root["added_tokens"], model, normalizer));
  auto tokenizer = absl::WrapUnique(new JsonTokenizer(
      std::move(normalizer), std::move(pre_tokenizer), std::move(model), std::move(added)));
  ASSIGN_OR_RETURN(tokenizer->post_processor_,
                   PostProcessor::Parse(root["post_processor"], tokenizer->size()));
  return tokenizer;
}

JsonTokenizer::JsonTokenizer(Normalizer normalizer, PreTokenizer pre_tokenizer, Bpe model,
                             AddedTokens added)
    : normalizer_(std::move(normalizer)),
      pre_tokenizer_(std::move(pre_tokenizer)),
      model_(std::move(model)),
      added_(std::move(added)),
      table_(model_, added_) {
  // If every byte has a token, encode bytes directly instead of turning them into characters and
  // looking those up.
  if (pre_tokenizer_.ends_in_byte_level() && model_.has_byte_alphabet()) {
    pre_tokenizer_.KeepBytes();
    alphabet_ = Bpe::Alphabet::kBytes;
  }
}

// Matches added tokens in the raw text, normalizes the text between them, matches added tokens in
// the normalized text, splits the text between those into words, and encodes the words with the
// model.
absl::StatusOr<std::vector<int32_t>> JsonTokenizer::Encode(std::string_view text,
                                                           const EncodeOptions& options) const {
  if (text.size() > kLongestText) {
    return absl::InvalidArgumentError(
        absl::StrCat("the text has ", text.size(), " bytes, expected at most ", kLongestText));
  }
  if (const size_t bad = FindInvalidUtf8(text); bad != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the text is not UTF-8: byte 0x",
        absl::Hex(static_cast<uint8_t>(text[bad]), absl::kZeroPad2), " at offset ", bad));
  }
  Pass pass{.plain_text = options.plain_text};
  if (options.add_special_tokens) pass.ids = post_processor_.prefix();
  std::vector<AddedTokens::Piece> pieces;
  added_.Split(text, /*normalized=*/false, options.plain_text, &pieces);
  for (const AddedTokens::Piece& piece : pieces) {
    if (piece.id >= 0) {
      pass.ids.push_back(piece.id);
    } else {
      RETURN_IF_ERROR(EncodeBetweenRaw(piece.text, &pass));
    }
  }
  if (options.add_special_tokens) {
    pass.ids.insert(pass.ids.end(), suffix().begin(), suffix().end());
  }
  return std::move(pass.ids);
}

absl::Status JsonTokenizer::EncodeBetweenRaw(std::string_view text, Pass* pass) const {
  if (!normalizer_.empty()) {
    ASSIGN_OR_RETURN(std::string normalized, normalizer_.Apply(text));
    text = pass->store.emplace_back(std::move(normalized));
  }
  std::vector<AddedTokens::Piece> pieces;
  added_.Split(text, /*normalized=*/true, pass->plain_text, &pieces);
  for (const AddedTokens::Piece& piece : pieces) {
    if (piece.id >= 0) {
      pass->ids.push_back(piece.id);
    } else {
      RETURN_IF_ERROR(EncodeBetweenNormalized(piece.text, pass));
    }
  }
  return absl::OkStatus();
}

absl::Status JsonTokenizer::EncodeBetweenNormalized(std::string_view text, Pass* pass) const {
  std::vector<std::string_view> words;
  RETURN_IF_ERROR(pre_tokenizer_.Split(text, &pass->store, &words));
  for (const std::string_view word : words) RETURN_IF_ERROR(EncodeWord(word, pass));
  return absl::OkStatus();
}

absl::Status JsonTokenizer::EncodeWord(std::string_view word, Pass* pass) const {
  std::vector<int32_t>& ids = pass->ids;
  if (const WordCache::Range* range = pass->cache.Find(word)) {
    const size_t begin = ids.size();
    ids.resize(begin + range->length);
    std::copy_n(ids.begin() + range->begin, range->length, ids.begin() + begin);
    return absl::OkStatus();
  }
  const size_t begin = ids.size();
  // The vocabulary may have a special token as a whole word, which is not to be found in plain
  // text.
  const bool as_whole = !(pass->plain_text && added_.IsSpecial(word));
  RETURN_IF_ERROR(model_.Encode(word, alphabet_, &ids, as_whole));
  pass->cache.Add(word, {begin, ids.size() - begin});
  return absl::OkStatus();
}

std::string JsonTokenizer::TokenBytes(int32_t id, bool skip_special) const {
  if (skip_special && table_.IsSpecial(id)) return "";
  return std::string(table_.Bytes(id));
}

std::string JsonTokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!(skip_special && table_.IsSpecial(id))) bytes += table_.Bytes(id);
  }
  std::string text;
  text.reserve(bytes.size());
  AppendLossy(bytes, &text);
  return text;
}

std::string JsonTokenizer::Caveat() const {
  const auto [major, minor] = UnicodeVersion();
  const auto [expected_major, expected_minor] = kUnicodeVersionOfTokenizers;
  if (!pre_tokenizer_.depends_on_unicode() || UnicodeVersion() == kUnicodeVersionOfTokenizers) {
    return "";
  }
  return absl::StrCat("ICU ", U_ICU_VERSION, " has Unicode ", major, ".", minor,
                      ", and tokenizers ", expected_major, ".", expected_minor,
                      ": characters that only one of them knows may be split differently");
}

int32_t JsonTokenizer::FindToken(std::string_view content) const {
  const int32_t added = added_.Find(content);
  return added >= 0 ? added : model_.Find(content);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string json, ReadTextFile(path, kLargestFile));
  auto tokenizer = Parse(json);
  if (!tokenizer.ok()) return WithPath(tokenizer.status(), path);
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Parse(std::string_view json) {
  ASSIGN_OR_RETURN(const nlohmann::json document, ParseJsonObject(json));
  return JsonTokenizer::Create(JsonView(&document));
}

namespace {

// Reads a file that may be missing, which leaves `text` as it is.
absl::Status ReadIfThere(const std::string& path, std::string* text) {
  absl::StatusOr<std::string> read = ReadTextFile(path, kLargestFile);
  if (absl::IsNotFound(read.status())) return absl::OkStatus();
  RETURN_IF_ERROR(read.status());
  *text = *std::move(read);
  return absl::OkStatus();
}

absl::StatusOr<VocabularyFiles> ReadVocabularyFiles(const std::string& directory) {
  const std::string prefix = directory + "/";
  VocabularyFiles files;
  ASSIGN_OR_RETURN(files.vocabulary, ReadTextFile(prefix + "vocab.json", kLargestFile));
  ASSIGN_OR_RETURN(files.merges, ReadTextFile(prefix + "merges.txt", kLargestFile));
  RETURN_IF_ERROR(ReadIfThere(prefix + "added_tokens.json", &files.added_tokens));
  RETURN_IF_ERROR(ReadIfThere(prefix + "special_tokens_map.json", &files.special_tokens_map));
  RETURN_IF_ERROR(ReadIfThere(prefix + "tokenizer_config.json", &files.tokenizer_config));
  return files;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::LoadDirectory(const std::string& directory) {
  auto whole = Load(directory + "/tokenizer.json");
  if (!absl::IsNotFound(whole.status())) return whole;
  std::error_code error;
  if (!std::filesystem::exists(directory + "/vocab.json", error)) {
    return WithPath(absl::NotFoundError("no tokenizer.json seen, expected one, or vocab.json and "
                                        "merges.txt"),
                    directory);
  }
  ASSIGN_OR_RETURN(const VocabularyFiles files, ReadVocabularyFiles(directory));
  auto tokenizer = Assemble(files);
  if (!tokenizer.ok()) return WithPath(tokenizer.status(), directory);
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Assemble(const VocabularyFiles& files) {
  ASSIGN_OR_RETURN(const nlohmann::json document, AssembleTokenizer(files));
  return JsonTokenizer::Create(JsonView(&document));
}

}  // namespace whipsnake::engine
