#include "engine/structured/schema_overlap.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace whipsnake::engine {

void SchemaOverlap::RequireExclusive(const std::vector<SchemaView>& branches,
                                     const std::string& path) {
  std::vector<Alternatives> expanded;
  for (const SchemaView& branch : branches) expanded.push_back(FactsOf(branch, path));
  for (size_t i = 0; i < branches.size(); ++i) {
    for (size_t j = 0; j < branches.size(); ++j) {
      if (i == j) continue;
      for (SchemaFacts* a : expanded[i]) {
        for (SchemaFacts* b : expanded[j]) {
          const bool avoids = Avoids(*a, *b, 0);
          if (pool_.out_of_work()) report_.Refuse(OutOfGrammarWork(path));
          if (!report_.ok()) return;
          if (avoids) continue;
          report_.Refuse(
              absl::StrCat(path, "[", std::max(i, j), "]"),
              absl::StrCat("a branch that may match together with branch ", std::min(i, j)),
              "branches that exclude one another by type, const or discriminator; "
              "otherwise anyOf");
        }
      }
    }
  }
}

SchemaOverlap::Alternatives SchemaOverlap::FactsOf(const SchemaView& view,
                                                   const std::string& path) {
  Alternatives all;
  for (SchemaView& one : views_.Expand(view, path)) {
    constexpr int64_t kSteps = 512;  // to read and keep a view
    pool_.Spend(kSteps);
    all.push_back(&facts_.emplace_back(std::move(one), shapes_));
  }
  return all;
}

const SchemaOverlap::Alternatives& SchemaOverlap::FactsOf(const LocatedSchemas& schemas) {
  std::vector<const ExactJson*> key;
  for (const LocatedSchema& schema : schemas) key.push_back(schema.schema);
  const auto known = parts_.find(key);
  if (known != parts_.end()) return known->second;
  Alternatives all = FactsOf(views_.Make(schemas), schemas.front().path);
  return parts_.emplace(std::move(key), std::move(all)).first->second;
}

// NOLINTBEGIN(misc-no-recursion): at most kMaxDepth values deep.

bool SchemaOverlap::Avoids(SchemaFacts& a, SchemaFacts& b, int depth) {
  constexpr int64_t kSteps = 4;  // to compare what is known of two views
  if (!pool_.Spend(kSteps) || !report_.ok() || a.view().impossible || b.view().impossible) {
    return true;
  }
  const TypeSet common = a.types(Reading::kGenerated) & b.types(Reading::kValid);
  if (common == 0 || ValuesAvoid(a, b, common)) return true;
  if ((common & (kNullType | kBooleanType)) != 0) return false;
  return ((common & kNumberTypes) == 0 || NumbersAvoid(a, b)) &&
         ((common & kArrayType) == 0 || ArraysAvoid(a, b, depth)) &&
         ((common & kObjectType) == 0 || ObjectsAvoid(a, b, depth)) &&
         ((common & kStringType) == 0 || TextsAvoid(a, b));
}

bool SchemaOverlap::ValuesAvoid(SchemaFacts& a, SchemaFacts& b, TypeSet common) {
  const auto& of_a = a.values(Reading::kGenerated);
  const auto& of_b = b.values(Reading::kValid);
  if (!of_a && !of_b) return false;
  if (of_a && of_b) {
    const bool a_is_smaller = of_a->texts.size() < of_b->texts.size();
    const auto& few = a_is_smaller ? of_a->texts : of_b->texts;
    const auto& many = a_is_smaller ? of_b->texts : of_a->texts;
    pool_.Spend(2 * std::ssize(few));
    return std::ranges::none_of(few, [&](const std::string& text) { return many.contains(text); });
  }
  // Values of one view against the keywords of the other.
  std::vector<const ExactJson*> values = of_a ? of_a->list : of_b->list;
  std::erase_if(
      values, [&](const ExactJson* value) { return (SchemaShapes::TypeOf(*value) & common) == 0; });
  constexpr TypeSet kNested = kArrayType | kObjectType;
  for (const ExactJson* value : values) {
    if (SchemaShapes::TypeOf(*value) & kNested) return false;
  }
  return shapes_.Admitted(of_a ? b.view() : a.view(), Reading::kValid, values).empty();
}

bool SchemaOverlap::NumbersAvoid(SchemaFacts& a, SchemaFacts& b) {
  NumberRange both = a.range();
  const NumberRange& other = b.range();
  if (other.min) both.RaiseMin(*other.min, other.min_excluded);
  if (other.max) both.LowerMax(*other.max, other.max_excluded);
  if (!both.min || !both.max) return false;
  const auto order = Compare(*both.min, *both.max);
  return order > 0 || (order == 0 && (both.min_excluded || both.max_excluded));
}

bool SchemaOverlap::TextsAvoid(SchemaFacts& a, SchemaFacts& b) {
  const auto exclude = texts_.Exclude(a.text(Reading::kGenerated), b.text(Reading::kValid));
  // The whole choice is too large then, not this pattern.
  if (!exclude.ok() && !pool_.out_of_work()) report_.Refuse(exclude.status());
  return exclude.ok() && *exclude;
}

bool SchemaOverlap::ArraysAvoid(SchemaFacts& a, SchemaFacts& b, int depth) {
  const ArrayShape& of_a = a.array();
  const ArrayShape& of_b = b.array();
  if (of_a.max_count < of_b.min_count || of_b.max_count < of_a.min_count) return true;
  if (depth >= kMaxDepth) return false;
  // Items that are always there.
  constexpr int64_t kMaxItems = 4;
  const auto at = [](const ArrayShape& shape, int64_t i) -> const LocatedSchemas& {
    return i < std::ssize(shape.prefix) ? shape.prefix[i] : shape.rest;
  };
  for (int64_t i = 0; i < std::min(of_a.min_count, kMaxItems); ++i) {
    if (AllAvoid(at(of_a, i), at(of_b, i), depth + 1)) return true;
  }
  return false;
}

bool SchemaOverlap::ObjectsAvoid(SchemaFacts& a, SchemaFacts& b, int depth) {
  const ObjectShape& of_a = a.object(Reading::kGenerated);
  const ObjectShape& of_b = b.object(Reading::kValid);
  if (of_a.impossible || of_b.impossible) return true;
  for (const ObjectShape::Property& property : of_b.properties) {
    if (!property.required || !of_a.others.empty()) continue;
    pool_.Spend(1 + std::ssize(of_a.properties) / 8);
    if (of_a.Find(property.name) == nullptr) return true;
  }
  if (depth >= kMaxDepth) return false;
  // Properties whose values are listed, as that of a discriminator, before the others.
  std::vector<std::pair<const ObjectShape::Property*, const ObjectShape::Property*>> later;
  for (const ObjectShape::Property& property : of_a.properties) {
    if (!property.required || property.schemas.empty()) continue;
    pool_.Spend(1 + std::ssize(of_b.properties) / 8);
    const ObjectShape::Property* same = of_b.Find(property.name);
    if (same == nullptr || same->schemas.empty()) continue;
    const bool is_listed = std::ranges::all_of(
        FactsOf(property.schemas), [](const SchemaFacts* one) { return one->lists_values(); });
    if (!is_listed) {
      later.emplace_back(&property, same);
    } else if (AllAvoid(property.schemas, same->schemas, depth + 1)) {
      return true;
    }
  }
  return std::ranges::any_of(later, [&](const auto& pair) {
    return AllAvoid(pair.first->schemas, pair.second->schemas, depth + 1);
  });
}

bool SchemaOverlap::AllAvoid(const LocatedSchemas& a, const LocatedSchemas& b, int depth) {
  // Schemas of any value are the common case, and their path is not at hand.
  if (a.empty() || b.empty()) return false;
  const Alternatives& all_a = FactsOf(a);
  const Alternatives& all_b = FactsOf(b);
  return std::ranges::all_of(all_a, [&](SchemaFacts* one) {
    return std::ranges::all_of(all_b,
                               [&](SchemaFacts* other) { return Avoids(*one, *other, depth); });
  });
}

// NOLINTEND(misc-no-recursion)

}  // namespace whipsnake::engine
