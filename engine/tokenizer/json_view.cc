#include "engine/tokenizer/json_view.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace whipsnake::engine {
namespace {

constexpr int kMaxDepth = 64;

// Returns the deepest nesting of arrays and objects, whether or not `text` is JSON. It is checked
// before parsing, because a tree as deep as the file is long takes many times the memory of the
// file.
int NestingDepth(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

// Describes a value for a message: scalars in full, arrays and objects by kind and size.
std::string Seen(const nlohmann::json& value) {
  if (value.is_string()) return Quoted(value.get_ref<const std::string&>());
  if (value.is_structured()) {
    return absl::StrCat("an ", value.type_name(), " of ", value.size(), " elements");
  }
  return value.dump();
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(std::string_view text) {
  if (const int depth = NestingDepth(text); depth > kMaxDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat("JSON nested ", depth, " deep, expected at most ", kMaxDepth));
  }
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::InvalidArgumentError("not well-formed JSON");
  return json;
}

JsonView JsonView::operator[](const char* key) const {
  static const nlohmann::json null;
  const nlohmann::json* field = &null;
  if (value_->is_object()) {
    if (const auto found = value_->find(key); found != value_->end()) field = &*found;
  }
  return JsonView(field, path_.empty() ? key : absl::StrCat(path_, ".", key));
}

absl::StatusOr<std::vector<JsonView>> JsonView::Elements() const {
  if (!value_->is_array()) return Invalid("an array");
  std::vector<JsonView> elements;
  elements.reserve(value_->size());
  for (const nlohmann::json& element : *value_) {
    elements.emplace_back(&element, absl::StrCat(path_, "[", elements.size(), "]"));
  }
  return elements;
}

absl::StatusOr<bool> JsonView::Bool() const {
  if (!value_->is_boolean()) return Invalid("true or false");
  return value_->get<bool>();
}

absl::StatusOr<bool> JsonView::BoolOr(bool otherwise) const {
  if (is_null()) return otherwise;
  return Bool();
}

absl::StatusOr<std::string> JsonView::String() const {
  if (!value_->is_string()) return Invalid("a string");
  return value_->get<std::string>();
}

absl::StatusOr<std::string> JsonView::Type() const {
  if (!value_->is_object()) return Invalid("an object with a \"type\"");
  return (*this)["type"].String();
}

absl::Status JsonView::Invalid(std::string_view expected) const {
  return absl::InvalidArgumentError(absl::StrCat(path_.empty() ? "the document" : path_, ": ",
                                                 Seen(*value_), " seen, expected ",
                                                 ToAbsl(expected)));
}

absl::Status JsonView::Unsupported(std::string_view kind, std::string_view type,
                                   std::string_view supported) const {
  return absl::UnimplementedError(absl::StrCat(path_, ": ", ToAbsl(kind), " ", Quoted(type),
                                               " is not supported, expected ", ToAbsl(supported)));
}

}  // namespace whipsnake::engine
