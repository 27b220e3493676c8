#include "engine/structured/schema_document.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_replace.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/structured/schema_keywords.h"

namespace whipsnake::engine {
namespace {

int HexDigit(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

// "%25" as "%". Returns nullopt if it is malformed or not UTF-8.
std::optional<std::string> PercentDecoded(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = HexDigit(text[i + 1]), low = HexDigit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  if (!IsUtf8(decoded)) return std::nullopt;
  return decoded;
}

// Whether a schema has nothing but a reference and annotations.
bool IsOnlyReference(const ExactJson& schema) {
  return schema.is(JsonKind::kObject) && schema.Find("$ref") != nullptr &&
         schema.Find("$id") == nullptr &&
         std::ranges::all_of(schema.keys, [](const std::string& key) {
           return key == "$ref" || IsAnnotation(key);
         });
}

}  // namespace

std::string PathKey(std::string_view key) {
  constexpr int64_t kMaxBytes = 67;  // with the "..." of a key that is cut
  return BoundedUtf8(key, kMaxBytes);
}

void SchemaReport::Refuse(std::string_view path, std::string_view seen, std::string_view expected) {
  if (status_.ok()) status_ = InvalidField(path, seen, expected);
}

void SchemaReport::Warn(std::string_view path, std::string_view what) {
  std::string warning = absl::StrCat(ToAbsl(path), ": ", ToAbsl(what));
  if (seen_.insert(warning).second) warnings_.push_back(std::move(warning));
}

std::vector<std::string> SchemaReport::warnings() const {
  std::vector<std::string> first = warnings_;
  if (first.size() > kMaxWarnings) {
    first.resize(kMaxWarnings);
    first.push_back(absl::StrCat("and ", warnings_.size() - kMaxWarnings, " more"));
  }
  return first;
}

SchemaDocument::SchemaDocument(const ExactJson& root, std::string_view field)
    : root_(root), field_(field) {
  FindAnchors(root, field_);
}

// NOLINTNEXTLINE(misc-no-recursion): as deep as the document is nested.
void SchemaDocument::FindAnchors(const ExactJson& schema, const std::string& path) {
  if (const ExactJson* anchor = schema.Find("$anchor"); anchor && anchor->is(JsonKind::kString)) {
    anchors_.try_emplace(anchor->text, LocatedSchema{&schema, path});
  }
  // Up to draft 7, an "$id" of this form is an anchor.
  if (const ExactJson* id = schema.Find("$id");
      id && id->is(JsonKind::kString) && id->text.starts_with('#')) {
    anchors_.try_emplace(id->text.substr(1), LocatedSchema{&schema, path});
  }
  for (size_t i = 0; i < schema.items.size(); ++i) {
    const std::string key = schema.is(JsonKind::kObject) ? schema.keys[i] : std::to_string(i);
    if (key == "const" || key == "enum" || key == "default" || key == "examples") continue;
    FindAnchors(schema.items[i], absl::StrCat(path, ".", PathKey(key)));
  }
}

const LocatedSchema* SchemaDocument::Resolve(const LocatedSchema& from, SchemaReport& report) {
  const auto known = targets_.find(from.schema);
  if (known != targets_.end()) return &known->second;
  std::set<const ExactJson*> passed;
  LocatedSchema target = from;
  do {
    const std::string where = target.path + ".$ref";
    const ExactJson& reference = *target.schema->Find("$ref");
    if (!passed.insert(target.schema).second) {
      report.Refuse(where, Described(reference), "a reference that does not lead back to itself");
      return nullptr;
    }
    target = reference.is(JsonKind::kString) ? Find(reference.text) : LocatedSchema{};
    if (target.schema == nullptr) {
      report.Refuse(where, Described(reference),
                    "\"#\", \"#/...\" or \"#anchor\", the place of a schema in this one");
      return nullptr;
    }
    const auto end = targets_.find(target.schema);
    if (end != targets_.end() && IsOnlyReference(*target.schema)) target = end->second;
  } while (IsOnlyReference(*target.schema));
  for (const ExactJson* schema : passed) targets_.try_emplace(schema, target);
  return &targets_.find(from.schema)->second;
}

LocatedSchema SchemaDocument::Find(std::string_view reference) const {
  const ExactJson* id = root_.Find("$id");
  if (id != nullptr && id->is(JsonKind::kString) && !id->text.starts_with('#')) {
    const std::string_view base = std::string_view(id->text).substr(0, id->text.find('#'));
    if (reference == base) return {&root_, field_};
    if (reference.starts_with(base) && reference.substr(base.size()).starts_with('#')) {
      reference.remove_prefix(base.size());
    }
  }
  if (!reference.starts_with('#')) return {};
  const auto decoded = PercentDecoded(reference.substr(1));
  if (!decoded) return {};
  if (decoded->empty() || decoded->starts_with('/')) return FindPointer(*decoded);
  const auto anchor = anchors_.find(*decoded);
  return anchor == anchors_.end() ? LocatedSchema{} : anchor->second;
}

LocatedSchema SchemaDocument::FindPointer(std::string_view pointer) const {
  const ExactJson* at = &root_;
  for (std::string_view rest = pointer; !rest.empty();) {
    rest.remove_prefix(1);
    const size_t end = std::min(rest.find('/'), rest.size());
    const std::string key =
        absl::StrReplaceAll(ToAbsl(rest.substr(0, end)), {{"~1", "/"}, {"~0", "~"}});
    rest.remove_prefix(end);
    if (at->is(JsonKind::kArray)) {
      const bool is_index = !key.empty() && key.size() < 6 &&
                            key.find_first_not_of("0123456789") == key.npos &&
                            std::stoul(key) < at->items.size();
      at = is_index ? &at->items[std::stoul(key)] : nullptr;
    } else {
      at = at->Find(key);
    }
    if (at == nullptr) return {};
  }
  std::string place(pointer);
  std::ranges::replace(place, '/', '.');
  return {at, field_ + PathKey(place)};
}

}  // namespace whipsnake::engine
