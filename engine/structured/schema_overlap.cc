#include "engine/structured/schema_overlap.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"

namespace whipsnake::engine {

void SchemaOverlap::RequireExclusive(const std::vector<SchemaView>& branches,
                                     const std::string& path) {
  std::vector<std::vector<SchemaView>> expanded;
  for (const SchemaView& branch : branches) expanded.push_back(views_.Expand(branch, path));
  for (size_t i = 0; i < branches.size(); ++i) {
    for (size_t j = 0; j < branches.size() && report_.ok(); ++j) {
      if (i == j) continue;
      for (const SchemaView& a : expanded[i]) {
        for (const SchemaView& b : expanded[j]) {
          if (!report_.ok() || Avoids(a, b, 0)) continue;
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

// NOLINTBEGIN(misc-no-recursion): at most kMaxDepth values deep.

bool SchemaOverlap::Avoids(const SchemaView& a, const SchemaView& b, int depth) {
  constexpr int64_t kSteps = 64;  // about what it takes without patterns
  if (!pool_.Spend(kSteps) || a.impossible || b.impossible) return true;
  const TypeSet common = shapes_.TypesOf(a) & shapes_.TypesOf(b, Reading::kValid);
  if (common == 0 || ValuesAvoid(a, b, common)) return true;
  if ((common & (kNullType | kBooleanType)) != 0) return false;
  return ((common & kNumberTypes) == 0 || NumbersAvoid(a, b)) &&
         ((common & kStringType) == 0 || TextsAvoid(a, b)) &&
         ((common & kArrayType) == 0 || ArraysAvoid(a, b, depth)) &&
         ((common & kObjectType) == 0 || ObjectsAvoid(a, b, depth));
}

bool SchemaOverlap::ValuesAvoid(const SchemaView& a, const SchemaView& b, TypeSet common) {
  const auto of_a = shapes_.ValuesOf(a), of_b = shapes_.ValuesOf(b, Reading::kValid);
  if (!of_a && !of_b) return false;
  if (of_a && of_b) {
    std::set<std::string> texts;
    for (const ExactJson* value : *of_a) texts.insert(CanonicalText(*value));
    return std::ranges::none_of(
        *of_b, [&](const ExactJson* value) { return texts.contains(CanonicalText(*value)); });
  }
  // Values of one view against the keywords of the other.
  std::vector<const ExactJson*> values = of_a ? *of_a : *of_b;
  std::erase_if(
      values, [&](const ExactJson* value) { return (SchemaShapes::TypeOf(*value) & common) == 0; });
  constexpr TypeSet kNested = kArrayType | kObjectType;
  for (const ExactJson* value : values) {
    if (SchemaShapes::TypeOf(*value) & kNested) return false;
  }
  return shapes_.Admitted(of_a ? b : a, Reading::kValid, values).empty();
}

bool SchemaOverlap::NumbersAvoid(const SchemaView& a, const SchemaView& b) {
  NumberRange both = shapes_.RangeOf(a);
  const NumberRange other = shapes_.RangeOf(b);
  if (other.min) both.RaiseMin(*other.min, other.min_excluded);
  if (other.max) both.LowerMax(*other.max, other.max_excluded);
  if (!both.min || !both.max) return false;
  const auto order = Compare(*both.min, *both.max);
  return order > 0 || (order == 0 && (both.min_excluded || both.max_excluded));
}

bool SchemaOverlap::TextsAvoid(const SchemaView& a, const SchemaView& b) {
  TextLanguage both = shapes_.TextOf(a);
  const TextLanguage other = shapes_.TextOf(b, Reading::kValid);
  both.patterns.insert(both.patterns.end(), other.patterns.begin(), other.patterns.end());
  both.min_count = std::max(both.min_count, other.min_count);
  both.max_count = std::min(both.max_count, other.max_count);
  const auto empty = IsEmpty(both, pool_);
  if (!empty.ok()) report_.Refuse(empty.status());
  return empty.ok() && *empty;
}

bool SchemaOverlap::ArraysAvoid(const SchemaView& a, const SchemaView& b, int depth) {
  const ArrayShape of_a = shapes_.ArrayOf(a), of_b = shapes_.ArrayOf(b);
  if (of_a.max_count < of_b.min_count || of_b.max_count < of_a.min_count) return true;
  if (depth >= kMaxDepth) return false;
  // Items that are always there.
  constexpr int64_t kMaxItems = 4;
  const auto at = [](const ArrayShape& shape, int64_t i) {
    return i < std::ssize(shape.prefix) ? shape.prefix[i] : shape.rest;
  };
  for (int64_t i = 0; i < std::min(of_a.min_count, kMaxItems); ++i) {
    if (AllAvoid(at(of_a, i), at(of_b, i), depth + 1)) return true;
  }
  return false;
}

bool SchemaOverlap::ObjectsAvoid(const SchemaView& a, const SchemaView& b, int depth) {
  SchemaView valid_b = b;
  valid_b.tags.clear();  // a discriminator is an annotation
  const ObjectShape of_a = shapes_.ObjectOf(a), of_b = shapes_.ObjectOf(valid_b);
  if (of_a.impossible || of_b.impossible) return true;
  for (const ObjectShape::Property& property : of_b.properties) {
    if (property.required && of_a.others.empty() && of_a.Find(property.name) == nullptr) {
      return true;
    }
  }
  if (depth >= kMaxDepth) return false;
  for (const ObjectShape::Property& property : of_a.properties) {
    if (!property.required) continue;
    const ObjectShape::Property* same = of_b.Find(property.name);
    if (same != nullptr && AllAvoid(property.schemas, same->schemas, depth + 1)) return true;
  }
  return false;
}

bool SchemaOverlap::AllAvoid(const LocatedSchemas& a, const LocatedSchemas& b, int depth) {
  // Schemas of any value are the common case, and their path is not at hand.
  if (a.empty() || b.empty()) return false;
  const auto all_a = views_.Expand(views_.Make(a), a.front().path);
  const auto all_b = views_.Expand(views_.Make(b), b.front().path);
  return std::ranges::all_of(all_a, [&](const SchemaView& one) {
    return std::ranges::all_of(all_b,
                               [&](const SchemaView& other) { return Avoids(one, other, depth); });
  });
}

// NOLINTEND(misc-no-recursion)

}  // namespace whipsnake::engine
