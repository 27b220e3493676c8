#include "engine/tokenizer/post_processor.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

absl::StatusOr<int32_t> ReadId(const JsonView& view, int32_t size) {
  const absl::StatusOr<int64_t> id = view.Integer(0, int64_t{size} - 1);
  if (id.ok()) return static_cast<int32_t>(*id);
  return view.Invalid(absl::StrCat("the id of a token, below ", size));
}

// Appends the ids of a special token of a template, whose "special_tokens" is `tokens`.
absl::Status AppendIds(const JsonView& tokens, const JsonView& name_view, int32_t size,
                       std::vector<int32_t>* ids) {
  ASSIGN_OR_RETURN(const std::string name, name_view.Text());
  const JsonView token = tokens[name.c_str()];
  if (token.is_null()) return name_view.Invalid("a token of special_tokens");
  ASSIGN_OR_RETURN(const std::vector<JsonView> elements, token["ids"].Elements());
  for (const JsonView& element : elements) {
    ASSIGN_OR_RETURN(const int32_t id, ReadId(element, size));
    ids->push_back(id);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PostProcessor> PostProcessor::Parse(const JsonView& view, int32_t size) {
  PostProcessor processor;
  if (!view.is_null()) RETURN_IF_ERROR(processor.Append(view, size));
  return processor;
}

// NOLINTNEXTLINE(misc-no-recursion): ParseJsonObject limits the depth.
absl::Status PostProcessor::Append(const JsonView& view, int32_t size) {
  ASSIGN_OR_RETURN(const std::string type, view.Type());
  if (type == "ByteLevel") return absl::OkStatus();  // it only changes offsets
  if (type == "TemplateProcessing") return AppendTemplate(view, size);
  if (type == "RobertaProcessing" || type == "BertProcessing") return AppendPair(view, size);
  if (type != "Sequence") {
    return view.Unsupported(
        "post-processor", type,
        "ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing or Sequence");
  }
  ASSIGN_OR_RETURN(const std::vector<JsonView> elements, view["processors"].Elements());
  for (const JsonView& element : elements) RETURN_IF_ERROR(Append(element, size));
  return absl::OkStatus();
}

absl::Status PostProcessor::AppendTemplate(const JsonView& view, int32_t size) {
  ASSIGN_OR_RETURN(const std::vector<JsonView> parts, view["single"].Elements());
  std::vector<int32_t> before, after;
  int texts = 0;
  for (const JsonView& part : parts) {
    const JsonView token = part["SpecialToken"];
    if (token.is_null()) {
      if (!part["Sequence"].value().is_object()) {
        return part.Invalid("a SpecialToken or a Sequence");
      }
      ++texts;
    } else {
      RETURN_IF_ERROR(
          AppendIds(view["special_tokens"], token["id"], size, texts == 0 ? &before : &after));
    }
  }
  if (texts != 1) {
    return view["single"].Unsupported("template with texts", absl::StrCat(texts), "one text");
  }
  Surround(std::move(before), after);
  return absl::OkStatus();
}

// "cls" and "sep", each ["[CLS]", 101], are put before and after the text.
absl::Status PostProcessor::AppendPair(const JsonView& view, int32_t size) {
  std::vector<int32_t> ids;
  for (const char* key : {"cls", "sep"}) {
    ASSIGN_OR_RETURN(const std::vector<JsonView> pair, view[key].Elements());
    if (pair.size() != 2) return view[key].Invalid("a token and its id");
    ASSIGN_OR_RETURN(const int32_t id, ReadId(pair[1], size));
    ids.push_back(id);
  }
  Surround({ids[0]}, {ids[1]});
  return absl::OkStatus();
}

// Each processor of a sequence surrounds what the ones before it have made.
void PostProcessor::Surround(std::vector<int32_t> before, const std::vector<int32_t>& after) {
  before.insert(before.end(), prefix_.begin(), prefix_.end());
  prefix_ = std::move(before);
  suffix_.insert(suffix_.end(), after.begin(), after.end());
}

}  // namespace whipsnake::engine
