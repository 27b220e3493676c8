#include "engine/tokenizer/vocabulary_files.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/base/json.h"
#include "engine/base/json_reader.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

using nlohmann::json;

// The special tokens that have names, in the order in which missing ones are added.
constexpr std::array kNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                               "pad_token", "cls_token", "mask_token"};
constexpr size_t kNamesOfGpt2 = 3;  // the first of them are this token if no file says otherwise
constexpr char kEndOfText[] = "<|endoftext|>";

absl::StatusOr<json> ParseFile(const char* name, const std::string& text) {
  auto document = ParsePythonJsonObject(text);
  if (!document.ok()) return WithContext(document.status(), name);
  return document;
}

// An entry of a tokenizer.json's added_tokens, yet without an id.
json MakeToken(const std::string& content, bool special) {
  return {{"content", content}, {"single_word", false},   {"lstrip", false},
          {"rstrip", false},    {"normalized", !special}, {"special", special}};
}

// Reads a token that is given as its content, and is then special, or as an object.
absl::StatusOr<json> ReadToken(const JsonView& view, bool special) {
  if (view.value().is_string()) return MakeToken(view.value().get<std::string>(), special);
  if (!view.value().is_object()) return view.Invalid("a token: a string or an object");
  ASSIGN_OR_RETURN(const std::string content, view["content"].Text());
  ASSIGN_OR_RETURN(special, view["special"].BooleanOr(special));
  json token = MakeToken(content, special);
  for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"}) {
    ASSIGN_OR_RETURN(token[flag], view[flag].BooleanOr(token[flag].get<bool>()));
  }
  return token;
}

// The special tokens that the files name.
class SpecialTokens {
 public:
  SpecialTokens() {
    for (size_t i = 0; i < kNamesOfGpt2; ++i) named_[i] = MakeToken(kEndOfText, /*special=*/true);
  }

  // Takes over what a file names; null removes a token.
  absl::Status Read(const JsonView& file) {
    for (size_t i = 0; i < kNames.size(); ++i) {
      if (!file.value().contains(kNames[i])) continue;
      named_[i] = json();
      if (file[kNames[i]].is_null()) continue;
      ASSIGN_OR_RETURN(named_[i], ReadToken(file[kNames[i]], /*special=*/true));
      named_[i]["special"] = true;
    }
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
      if (!file[key].value().is_array()) continue;
      more_.clear();
      ASSIGN_OR_RETURN(const std::vector<JsonView> elements, file[key].Elements());
      for (const JsonView& element : elements) {
        ASSIGN_OR_RETURN(json token, ReadToken(element, /*special=*/true));
        token["special"] = true;
        more_.push_back(std::move(token));
      }
    }
    return absl::OkStatus();
  }

  // The content of the token kNames[index], or null.
  json Named(size_t index) const {
    return named_[index].is_null() ? json() : named_[index]["content"];
  }

  std::vector<json> All() const {
    std::vector<json> all;
    std::ranges::copy_if(named_, std::back_inserter(all),
                         [](const json& t) { return !t.is_null(); });
    all.insert(all.end(), more_.begin(), more_.end());
    return all;
  }

  bool Contain(const json& content) const {
    return std::ranges::any_of(All(), [&](const json& t) { return t["content"] == content; });
  }

 private:
  std::array<json, kNames.size()> named_;
  std::vector<json> more_;
};

// The field added_tokens of the tokenizer.json.
class AddedTokenList {
 public:
  explicit AddedTokenList(const json& vocabulary)
      : vocabulary_(vocabulary), next_(vocabulary.size()) {}

  // Gives a token the id that it has in the vocabulary or the next free one.
  void Add(json token) {
    json id = IdOf(token["content"]);
    AddAs(std::move(id), std::move(token));
  }

  // Leaves out a token that was added before.
  void AddAs(json id, json token) {
    if (!contents_.insert(token["content"].get<std::string>()).second) return;
    if (!vocabulary_.contains(token["content"].get<std::string>())) ++next_;
    token["id"] = std::move(id);
    tokens_.push_back(std::move(token));
  }

  // The id of a token of the vocabulary or of this list, else the next free one.
  json IdOf(const json& content) const {
    const auto known = vocabulary_.find(content.get<std::string>());
    if (known != vocabulary_.end()) return *known;
    for (const json& token : tokens_) {
      if (token["content"] == content) return token["id"];
    }
    return next_;
  }

  const json& tokens() const { return tokens_; }

 private:
  const json& vocabulary_;
  size_t next_;
  json tokens_ = json::array();
  absl::flat_hash_set<std::string> contents_;
};

using NumberedTokens = std::vector<std::pair<uint64_t, json>>;

// Reads "added_tokens_decoder": {"50257": {"content": "<pad>", ...}, ...}.
absl::StatusOr<NumberedTokens> ReadDecoder(const JsonView& view) {
  if (!view.value().is_object()) return view.Invalid("an object of tokens by id");
  NumberedTokens tokens;
  for (const auto& [key, value] : view.value().items()) {
    const JsonView element(&value, absl::StrCat(view.path(), "[", Quoted(key), "]"));
    const bool digits =
        !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!digits) return element.Invalid("an id as the key");
    ASSIGN_OR_RETURN(json token, ReadToken(element, /*special=*/false));
    tokens.emplace_back(std::stoull(key), std::move(token));
  }
  return tokens;
}

// Reads added_tokens.json: {"<pad>": 50257, ...}.
absl::StatusOr<NumberedTokens> ReadEncoder(const JsonView& view, const SpecialTokens& special) {
  NumberedTokens tokens;
  for (const auto& [content, id] : view.value().items()) {
    const JsonView element(&id, absl::StrCat(view.path(), "[", Quoted(content), "]"));
    ASSIGN_OR_RETURN(const int64_t number, element.Integer(0, INT32_MAX));
    tokens.emplace_back(static_cast<uint64_t>(number),
                        MakeToken(content, special.Contain(content)));
  }
  return tokens;
}

// Each line is one merge, as a pair. A "#version" line may come first.
absl::StatusOr<json> ReadMerges(std::string_view text) {
  json merges = json::array();
  for (int64_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    const size_t space = line.find(' ');
    if (space == 0 || space >= line.size() - 1 || line.find(' ', space + 1) != line.npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("merges.txt: line ", number, ": ", Quoted(line),
                       " seen, expected two tokens with a space between"));
    }
    merges.push_back({std::string(line.substr(0, space)), std::string(line.substr(space + 1))});
  }
  return merges;
}

// Only these split and merge as GPT-2 does. The first files name no class.
absl::Status CheckClass(const JsonView& config) {
  const JsonView view = config["tokenizer_class"];
  if (view.is_null()) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string name, view.Text());
  for (const char* known : {"GPT2Tokenizer", "CodeGenTokenizer"}) {
    if (name == known || name == absl::StrCat(known, "Fast")) return absl::OkStatus();
  }
  return view.Unsupported("tokenizer without a tokenizer.json", name,
                          "GPT2Tokenizer or CodeGenTokenizer");
}

// Returns the template that adds bos_token and eos_token, or null if the config asks for neither.
absl::StatusOr<json> MakePostProcessor(const JsonView& config, const SpecialTokens& special,
                                       const AddedTokenList& added) {
  json single = json::array(), tokens = json::object();
  const auto add = [&](const char* key, size_t name) -> absl::Status {
    ASSIGN_OR_RETURN(const bool asked, config[key].BooleanOr(false));
    const json content = special.Named(name);
    if (!asked || content.is_null()) return absl::OkStatus();
    single.push_back({{"SpecialToken", {{"id", content}, {"type_id", 0}}}});
    tokens[content.get<std::string>()] = {{"id", content},
                                          {"ids", json::array({added.IdOf(content)})}};
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(add("add_bos_token", 0));
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  RETURN_IF_ERROR(add("add_eos_token", 1));
  if (tokens.empty()) return json();
  return json{{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", tokens}};
}

absl::StatusOr<NumberedTokens> ReadNumberedTokens(const VocabularyFiles& files,
                                                  const JsonView& config, SpecialTokens* special) {
  NumberedTokens tokens;
  if (const JsonView decoder = config["added_tokens_decoder"]; !decoder.is_null()) {
    ASSIGN_OR_RETURN(tokens, ReadDecoder(decoder));
  } else {
    constexpr char kMap[] = "special_tokens_map.json", kAdded[] = "added_tokens.json";
    ASSIGN_OR_RETURN(const json map, ParseFile(kMap, files.special_tokens_map));
    RETURN_IF_ERROR(special->Read(JsonView(&map, kMap)));
    ASSIGN_OR_RETURN(const json added, ParseFile(kAdded, files.added_tokens));
    ASSIGN_OR_RETURN(tokens, ReadEncoder(JsonView(&added, kAdded), *special));
  }
  std::ranges::sort(tokens, {}, [](const auto& token) { return token.first; });
  return tokens;
}

// Returns the fields of the tokenizer.json that the config decides.
absl::StatusOr<json> ApplyConfig(const VocabularyFiles& files, const json& vocabulary,
                                 const JsonView& config) {
  RETURN_IF_ERROR(CheckClass(config));
  SpecialTokens special;
  RETURN_IF_ERROR(special.Read(config));
  ASSIGN_OR_RETURN(NumberedTokens numbered, ReadNumberedTokens(files, config, &special));
  AddedTokenList added(vocabulary);
  for (auto& [id, token] : numbered) {
    if (special.Contain(token["content"])) token["special"] = true;
    added.AddAs(id, std::move(token));
  }
  for (json& token : special.All()) added.Add(std::move(token));
  ASSIGN_OR_RETURN(const bool prefix_space, config["add_prefix_space"].BooleanOr(false));
  ASSIGN_OR_RETURN(const json post_processor, MakePostProcessor(config, special, added));
  return json{{"added_tokens", added.tokens()},
              {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}}},
              {"post_processor", post_processor}};
}

}  // namespace

absl::StatusOr<json> AssembleTokenizer(const VocabularyFiles& files) {
  constexpr char kConfig[] = "tokenizer_config.json";
  ASSIGN_OR_RETURN(json vocabulary, ParseFile("vocab.json", files.vocabulary));
  ASSIGN_OR_RETURN(json merges, ReadMerges(files.merges));
  ASSIGN_OR_RETURN(const json config, ParseFile(kConfig, files.tokenizer_config));
  ASSIGN_OR_RETURN(json tokenizer, ApplyConfig(files, vocabulary, JsonView(&config, kConfig)));
  tokenizer["decoder"] = {{"type", "ByteLevel"}};
  tokenizer["model"] = {
      {"type", "BPE"}, {"vocab", std::move(vocabulary)}, {"merges", std::move(merges)}};
  return tokenizer;
}

}  // namespace whipsnake::engine
