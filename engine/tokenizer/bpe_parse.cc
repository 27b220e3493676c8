// Parses the BPE model of a tokenizer.json.
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/byte_level.h"

namespace whipsnake::engine {

absl::StatusOr<Bpe> Bpe::Parse(const JsonView& view) {
  if (!view.value().is_object()) return view.Invalid("an object");
  // The oldest files have no type; they are BPE if they have merges.
  if (!view["type"].is_null() || view["merges"].is_null()) {
    ASSIGN_OR_RETURN(const std::string type, view.Type());
    if (type != "BPE") return view.Unsupported("model", type, "BPE");
  }
  Bpe bpe;
  RETURN_IF_ERROR(bpe.ReadOptions(view));
  RETURN_IF_ERROR(bpe.ReadVocabulary(view["vocab"]));
  RETURN_IF_ERROR(bpe.ReadMerges(view["merges"]));
  bpe.IndexBytes();
  return bpe;
}

absl::Status Bpe::ReadOptions(const JsonView& view) {
  const JsonView dropout = view["dropout"];
  if (!dropout.is_null()) {
    if (!dropout.value().is_number()) return dropout.Invalid("a number or null");
    if (dropout.value().get<double>() != 0) {
      return dropout.Unsupported("dropout", dropout.value().dump(), "0 or null");
    }
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (view[affix].is_null()) continue;
    ASSIGN_OR_RETURN(const std::string text, view[affix].Text());
    if (!text.empty()) return view[affix].Unsupported("affix", text, "\"\" or null");
  }
  if (!view["unk_token"].is_null()) {
    ASSIGN_OR_RETURN(unknown_token_, view["unk_token"].Text());
    has_unknown_ = true;
  }
  ASSIGN_OR_RETURN(fuse_unknown_, view["fuse_unk"].BooleanOr(false));
  ASSIGN_OR_RETURN(byte_fallback_, view["byte_fallback"].BooleanOr(false));
  ASSIGN_OR_RETURN(ignore_merges_, view["ignore_merges"].BooleanOr(false));
  return absl::OkStatus();
}

absl::Status Bpe::ReadVocabulary(const JsonView& view) {
  if (!view.value().is_object()) return view.Invalid("an object of ids by token");
  absl::flat_hash_set<int32_t> ids;
  for (const auto& [token, value] : view.value().items()) {
    const JsonView entry(&value, absl::StrCat(view.path(), "[", Quoted(token), "]"));
    if (!value.is_number_unsigned() || value.get<uint64_t>() >= kMaxTokenIds) {
      return entry.Invalid(absl::StrCat("an id from 0 to ", kMaxTokenIds - 1));
    }
    const int32_t id = value.get<int32_t>();
    if (!ids.insert(id).second) return entry.Invalid("an id that no other token has");
    vocabulary_[token] = id;
  }
  return absl::OkStatus();
}

// Each merge is ["a", "b"], or "a b" in older files, which may begin with a "#version" line. All
// merges have the same form.
absl::Status Bpe::ReadMerges(const JsonView& view) {
  if (!view.value().is_array()) return view.Invalid("an array of pairs");
  const bool lines = !view.value().empty() && view.value()[0].is_string();
  uint32_t rank = 0;
  for (size_t i = 0; i < view.value().size(); ++i) {
    const nlohmann::json& merge = view.value()[i];
    const auto invalid = [&](std::string_view expected) {
      return JsonView(&merge, absl::StrCat(view.path(), "[", i, "]")).Invalid(expected);
    };
    if (lines) {
      if (!merge.is_string()) return invalid("a string, as the first merge");
      const std::string& line = merge.get_ref<const std::string&>();
      if (line.starts_with("#version")) continue;
      const size_t space = line.find(' ');
      if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
        return invalid("two tokens with a space between");
      }
      RETURN_IF_ERROR(AddMerge(view, i, line.substr(0, space), line.substr(space + 1), rank++));
    } else {
      if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() ||
          !merge[1].is_string()) {
        return invalid("a pair of strings");
      }
      RETURN_IF_ERROR(AddMerge(view, i, merge[0].get_ref<const std::string&>(),
                               merge[1].get_ref<const std::string&>(), rank++));
    }
  }
  return absl::OkStatus();
}

absl::Status Bpe::AddMerge(const JsonView& merges, size_t index, const std::string& left,
                           const std::string& right, uint32_t rank) {
  const std::string joined = left + right;
  for (const std::string* token : {&left, &right, &joined}) {
    if (Find(*token) < 0) {
      return absl::InvalidArgumentError(absl::StrCat(merges.path(), "[", index,
                                                     "]: ", Quoted(*token),
                                                     " seen, expected a token of the vocabulary"));
    }
  }
  const uint64_t pair =
      static_cast<uint64_t>(Find(left)) << 32 | static_cast<uint32_t>(Find(right));
  merges_[pair] = {rank, Find(joined)};
  return absl::OkStatus();
}

void Bpe::IndexBytes() {
  has_byte_alphabet_ = true;
  for (int byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = Find(ByteLevelCharacter(byte));
    has_byte_alphabet_ &= byte_ids_[byte] >= 0;
  }
  if (!ignore_merges_) return;
  for (const auto& [token, id] : vocabulary_) {
    if (auto bytes = DecodeByteLevel(token)) whole_words_[*std::move(bytes)] = id;
  }
}

}  // namespace whipsnake::engine
