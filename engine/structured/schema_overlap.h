// Whether the branches of a oneOf exclude one another.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_OVERLAP_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_OVERLAP_H_

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "engine/structured/schema_facts.h"
#include "engine/structured/schema_shape.h"
#include "engine/structured/schema_view.h"
#include "engine/structured/text_overlap.h"

namespace whipsnake::engine {

// Finds out whether what is generated for one view can be valid for another. It is told apart by
// type, by const and enum, by bounds and patterns, and by a property that is always there or never:
// an object with properties has no others unless additionalProperties allows them. Not thread-safe.
class SchemaOverlap {
 public:
  // All must outlive it.
  SchemaOverlap(SchemaViews& views, SchemaShapes& shapes, SchemaReport& report,
                ExpressionPool& pool)
      : views_(views), shapes_(shapes), report_(report), pool_(pool) {}

  // Refuses the choice at `path` if an output of one of its branches may be valid for another.
  void RequireExclusive(const std::vector<SchemaView>& branches, const std::string& path);

  // The number of machines that patterns were made into so far.
  int64_t machines_made() const { return texts_.machines_made(); }

 private:
  static constexpr int kMaxDepth = 3;  // of values in values that are looked at

  // Whether no output for `a` is valid for `b`; false if that is not known. The cheapest tests come
  // first.
  bool Avoids(SchemaFacts& a, SchemaFacts& b, int depth);
  bool ValuesAvoid(SchemaFacts& a, SchemaFacts& b, TypeSet common);
  bool NumbersAvoid(SchemaFacts& a, SchemaFacts& b);
  bool TextsAvoid(SchemaFacts& a, SchemaFacts& b);
  bool ArraysAvoid(SchemaFacts& a, SchemaFacts& b, int depth);
  bool ObjectsAvoid(SchemaFacts& a, SchemaFacts& b, int depth);
  // The same for schemas that may have choices.
  bool AllAvoid(const LocatedSchemas& a, const LocatedSchemas& b, int depth);

  using Alternatives = std::vector<SchemaFacts*>;
  Alternatives FactsOf(const SchemaView& view, const std::string& path);
  // The same for the schemas of a part of a value, which are read once.
  const Alternatives& FactsOf(const LocatedSchemas& schemas);

  SchemaViews& views_;
  SchemaShapes& shapes_;
  SchemaReport& report_;
  ExpressionPool& pool_;
  TextOverlap texts_{pool_};
  std::deque<SchemaFacts> facts_;
  std::map<std::vector<const ExactJson*>, Alternatives> parts_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_OVERLAP_H_
