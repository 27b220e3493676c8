#include "engine/structured/schema_shape.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "engine/structured/decimal.h"
#include "engine/structured/regex_grammar.h"
#include "engine/structured/text_format.h"

namespace whipsnake::engine {
namespace {

std::string PathOf(const LocatedSchema& schema, std::string_view key) {
  return absl::StrCat(schema.path, ".", ToAbsl(key));
}

}  // namespace

// --- Types and values ----------------------------------------------------------------------------

TypeSet SchemaShapes::TypeOf(const ExactJson& value) {
  switch (value.kind) {
    case JsonKind::kNull:
      return kNullType;
    case JsonKind::kBoolean:
      return kBooleanType;
    case JsonKind::kNumber:
      return IsWholeNumber(value.text) ? kIntegerType : kFractionType;
    case JsonKind::kString:
      return kStringType;
    case JsonKind::kArray:
      return kArrayType;
    case JsonKind::kObject:
      break;
  }
  return kObjectType;
}

TypeSet SchemaShapes::ReadType(const LocatedSchema& schema) {
  const ExactJson& type = *schema.schema->Find("type");
  TypeSet types = 0;
  const std::vector<ExactJson> one = {type};
  if (type.is(JsonKind::kArray) && type.empty()) {
    report_.Refuse(PathOf(schema, "type"), "an empty list", "one or more types");
  }
  for (const ExactJson& name : type.is(JsonKind::kArray) ? type.items : one) {
    const TypeSet named = name.is(JsonKind::kString) ? TypeNamed(name.text) : 0;
    if (named == 0) {
      report_.Refuse(PathOf(schema, "type"), Described(name),
                     "object, array, string, integer, number, boolean or null, or a list of them");
    }
    types |= named;
  }
  // OpenAPI 3.0 has it instead of a list of types.
  const ExactJson* nullable = schema.schema->Find("nullable");
  return nullable != nullptr && nullable->is_true() ? types | kNullType : types;
}

TypeSet SchemaShapes::TypesOf(const SchemaView& view, Reading reading) {
  TypeSet types = kAllTypes, about = 0;
  bool is_named = false;
  for (const LocatedSchema& member : view.members) {
    // A view is read for one type after another, by looking for each keyword among its keys.
    constexpr int64_t kSteps = 32;
    pool_.Spend(kSteps + 4 * std::ssize(member.schema->keys));
    for (const std::string& key : member.schema->keys) about |= TypesAbout(key);
    if (const ExactJson* negated = member.schema->Find("not"); negated != nullptr) {
      if (negated->is_true() || (negated->is(JsonKind::kObject) && negated->empty())) return 0;
      if (!negated->is_false()) {
        report_.Refuse(PathOf(member, "not"), Described(*negated), "true, false or {}");
      }
    }
    is_named = is_named || member.schema->Find("const") || member.schema->Find("enum");
    if (member.schema->Find("type") == nullptr) continue;
    types &= ReadType(member);
    is_named = true;
  }
  const bool is_implied = !is_named && about != 0 && reading == Reading::kGenerated;
  return is_implied ? about : types;
}

const ExactJson* SchemaShapes::ReadList(const LocatedSchema& schema, const char* key) {
  const ExactJson* list = schema.schema->Find(key);
  if (list == nullptr || list->is(JsonKind::kArray)) return list;
  report_.Refuse(PathOf(schema, key), Described(*list), "a list");
  return nullptr;
}

std::optional<std::vector<const ExactJson*>> SchemaShapes::ValuesOf(const SchemaView& view,
                                                                    Reading reading) {
  std::optional<std::vector<const ExactJson*>> values;
  const auto intersect = [&](std::vector<const ExactJson*> list) {
    if (!values) {
      values = std::move(list);
      return;
    }
    std::set<std::string> texts;
    for (const ExactJson* value : list) texts.insert(CanonicalText(*value));
    std::erase_if(*values,
                  [&](const ExactJson* value) { return !texts.contains(CanonicalText(*value)); });
  };
  for (const LocatedSchema& member : view.members) {
    if (const ExactJson* value = member.schema->Find("const")) intersect({value});
    if (const ExactJson* list = ReadList(member, "enum")) {
      if (list->empty())
        report_.Refuse(PathOf(member, "enum"), "an empty list", "a list of values");
      std::vector<const ExactJson*> all;
      for (const ExactJson& value : list->items) all.push_back(&value);
      pool_.Spend(8 * std::ssize(all));
      intersect(std::move(all));
    }
  }
  if (!values) return std::nullopt;
  return Admitted(view, reading, *values);
}

std::vector<const ExactJson*> SchemaShapes::Admitted(const SchemaView& view, Reading reading,
                                                     const std::vector<const ExactJson*>& list) {
  const TypeSet types = TypesOf(view, reading);
  std::vector<const ExactJson*> admitted;
  std::vector<std::string_view> texts;
  TypeSet seen = 0;
  for (const ExactJson* value : list) {
    const TypeSet type = TypeOf(*value);
    if ((types & type) == 0) continue;
    seen |= type;
    admitted.push_back(value);
    if (type == kStringType) texts.push_back(value->text);
  }
  for (const LocatedSchema& member : view.members) {
    for (const std::string& key : member.schema->keys) {
      if ((TypesAbout(key) & seen & (kArrayType | kObjectType)) == 0) continue;
      report_.Refuse(PathOf(member, key), "a keyword beside a list or an object as a value",
                     "const or enum without it");
    }
  }
  if (seen & kNumberTypes) {
    const NumberRange range = RangeOf(view);
    std::erase_if(admitted, [&](const ExactJson* value) {
      if (!value->is(JsonKind::kNumber)) return false;
      const auto number = Decimal::Parse(value->text);
      // A number of so many digits is only known to be within no bounds at all.
      return number ? !range.Contains(*number) : range.min || range.max || !range.steps.empty();
    });
  }
  if (texts.empty()) return admitted;
  const auto admits = Admits(TextOf(view, reading), texts, pool_);
  if (!admits.ok()) {
    report_.Refuse(admits.status());
    return {};
  }
  size_t next = 0;
  std::erase_if(admitted, [&](const ExactJson* value) {
    return value->is(JsonKind::kString) && !(*admits)[next++];
  });
  return admitted;
}

// --- Numbers -------------------------------------------------------------------------------------

int64_t SchemaShapes::ReadCount(const LocatedSchema& schema, const char* key, int64_t otherwise) {
  const ExactJson* value = schema.schema->Find(key);
  if (value == nullptr) return otherwise;
  const auto number = value->is(JsonKind::kNumber) ? Decimal::Parse(value->text) : std::nullopt;
  if (number && number->is_whole() && !number->negative) {
    constexpr size_t kManyDigits = 10;  // a maximum that no output reaches
    const int64_t count =
        number->whole.size() < kManyDigits ? std::stoll(number->whole) : ExpressionPool::kUnbounded;
    if (count <= kMaxRepetitions || std::string_view(key).starts_with("max")) return count;
  }
  report_.Refuse(PathOf(schema, key), Described(*value),
                 absl::StrCat("an integer from 0 to ", kMaxRepetitions));
  return otherwise;
}

void SchemaShapes::ReadBound(const LocatedSchema& schema, const char* key, NumberRange& range) {
  const ExactJson* value = schema.schema->Find(key);
  if (value == nullptr) return;
  const bool is_min = std::string_view(key).ends_with("inimum");
  bool excluded = std::string_view(key).starts_with("exclusive");
  if (excluded && value->is(JsonKind::kBoolean)) return;  // read with the other keyword
  const ExactJson* exclusive =
      schema.schema->Find(is_min ? "exclusiveMinimum" : "exclusiveMaximum");
  // Up to draft 4 and in OpenAPI 3.0, this says that the other keyword's number is excluded.
  if (exclusive != nullptr && exclusive->is_true()) excluded = true;
  const auto bound = value->is(JsonKind::kNumber) ? Decimal::Parse(value->text) : std::nullopt;
  if (!bound) {
    report_.Refuse(PathOf(schema, key), Described(*value),
                   absl::StrCat("a number of at most ", Decimal::kMaxDigits,
                                " digits before and after the point"));
  } else if (is_min) {
    range.RaiseMin(*bound, excluded);
  } else {
    range.LowerMax(*bound, excluded);
  }
}

void SchemaShapes::ReadStep(const LocatedSchema& schema, NumberRange& range) {
  const ExactJson* value = schema.schema->Find("multipleOf");
  if (value == nullptr) return;
  const auto step = value->is(JsonKind::kNumber) ? Decimal::Parse(value->text) : std::nullopt;
  if (step && SupportsStep(*step)) {
    range.steps.push_back(*step);
  } else {
    report_.Refuse(PathOf(schema, "multipleOf"), Described(*value),
                   "a positive number whose digits are a small number, such as 5, 0.01 or 250");
  }
}

NumberRange SchemaShapes::RangeOf(const SchemaView& view) {
  NumberRange range;
  for (const LocatedSchema& member : view.members) {
    for (const char* key : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}) {
      ReadBound(member, key, range);
    }
    ReadStep(member, range);
  }
  return range;
}

// --- Texts and lists -----------------------------------------------------------------------------

void SchemaShapes::ReadFormat(const LocatedSchema& schema, int64_t max_count, TextLanguage& text) {
  const ExactJson* format = schema.schema->Find("format");
  if (format == nullptr) return;
  const std::string where = PathOf(schema, "format");
  if (!format->is(JsonKind::kString)) {
    report_.Refuse(where, Described(*format), "the name of a format");
    return;
  }
  const auto pattern = FormatPattern(format->text, max_count);
  if (pattern) {
    text.patterns.push_back({.regex = *pattern, .field = where});
  } else {
    report_.Warn(where, absl::StrCat(Quoted(format->text),
                                     " is not a known format and does not limit the output"));
  }
}

TextLanguage SchemaShapes::TextOf(const SchemaView& view, Reading reading) {
  TextLanguage text;
  std::set<std::string> known;
  for (const LocatedSchema& member : view.members) {
    if (text.field.empty()) text.field = member.path;
    text.min_count = std::max(text.min_count, ReadCount(member, "minLength", 0));
    text.max_count =
        std::min(text.max_count, ReadCount(member, "maxLength", ExpressionPool::kUnbounded));
    const ExactJson* pattern = member.schema->Find("pattern");
    if (pattern == nullptr ||
        (pattern->is(JsonKind::kString) && !known.insert(pattern->text).second)) {
      continue;
    }
    text.field = PathOf(member, "pattern");
    if (!pattern->is(JsonKind::kString)) {
      report_.Refuse(text.field, Described(*pattern), "a regular expression");
    }
    text.patterns.push_back({.regex = pattern->text, .field = text.field});
  }
  if (reading == Reading::kValid) return text;
  std::set<std::string> formats;
  for (const LocatedSchema& member : view.members) {
    const ExactJson* format = member.schema->Find("format");
    if (format != nullptr && formats.insert(format->text).second) {
      ReadFormat(member, text.max_count, text);
    }
  }
  return text;
}

ArrayShape SchemaShapes::ArrayOf(const SchemaView& view) {
  ArrayShape shape;
  for (const LocatedSchema& member : view.members) {
    shape.min_count = std::max(shape.min_count, ReadCount(member, "minItems", 0));
    shape.max_count =
        std::min(shape.max_count, ReadCount(member, "maxItems", ExpressionPool::kUnbounded));
    const ExactJson* unique = member.schema->Find("uniqueItems");
    if (unique != nullptr && unique->is_true()) {
      shape.unique = true;
      shape.unique_path = PathOf(member, "uniqueItems");
    }
    // Up to draft 2019-09, a list of "items" is what "prefixItems" is now.
    const ExactJson* items = member.schema->Find("items");
    const bool is_old = items != nullptr && items->is(JsonKind::kArray);
    const char* prefix_key = is_old ? "items" : "prefixItems";
    const char* rest_key = is_old ? "additionalItems" : "items";
    const ExactJson* prefix = ReadList(member, prefix_key);
    const ExactJson* rest = member.schema->Find(rest_key);
    const size_t size = prefix == nullptr ? 0 : prefix->items.size();
    while (shape.prefix.size() < size) shape.prefix.push_back(shape.rest);
    for (size_t i = 0; i < shape.prefix.size(); ++i) {
      if (i < size) {
        shape.prefix[i].push_back(
            {&prefix->items[i], absl::StrCat(PathOf(member, prefix_key), "[", i, "]")});
      } else if (rest != nullptr) {
        shape.prefix[i].push_back({rest, PathOf(member, rest_key)});
      }
    }
    if (rest != nullptr) shape.rest.push_back({rest, PathOf(member, rest_key)});
  }
  return shape;
}

}  // namespace whipsnake::engine
