#include "engine/structured/schema_facts.h"

#include <algorithm>

namespace whipsnake::engine {

bool SchemaFacts::lists_values() const {
  return std::ranges::any_of(view_.members, [](const LocatedSchema& member) {
    return member.schema->Find("const") != nullptr || member.schema->Find("enum") != nullptr;
  });
}

TypeSet SchemaFacts::types(Reading reading) {
  return ReadOnce(Of(types_, reading), [&] { return shapes_.TypesOf(view_, reading); });
}

const std::optional<SchemaFacts::Values>& SchemaFacts::values(Reading reading) {
  return ReadOnce(Of(values_, reading), [&]() -> std::optional<Values> {
    auto list = shapes_.ValuesOf(view_, reading);
    if (!list) return std::nullopt;
    Values values{.list = *std::move(list), .texts = {}};
    for (const ExactJson* value : values.list) values.texts.insert(CanonicalText(*value));
    return values;
  });
}

const NumberRange& SchemaFacts::range() {
  return ReadOnce(range_, [&] { return shapes_.RangeOf(view_); });
}

const TextLanguage& SchemaFacts::text(Reading reading) {
  return ReadOnce(Of(texts_, reading), [&] { return shapes_.TextOf(view_, reading); });
}

const ArrayShape& SchemaFacts::array() {
  return ReadOnce(array_, [&] { return shapes_.ArrayOf(view_); });
}

const ObjectShape& SchemaFacts::object(Reading reading) {
  return ReadOnce(Of(objects_, reading), [&] {
    if (reading == Reading::kGenerated) return shapes_.ObjectOf(view_);
    SchemaView valid = view_;
    valid.tags.clear();
    return shapes_.ObjectOf(valid);
  });
}

}  // namespace whipsnake::engine
