// Whether the branches of a oneOf exclude one another.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_OVERLAP_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_OVERLAP_H_

#include <string>
#include <vector>

#include "engine/structured/schema_shape.h"
#include "engine/structured/schema_view.h"

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

 private:
  static constexpr int kMaxDepth = 3;  // of values in values that are looked at

  // Whether no output for `a` is valid for `b`; false if that is not known. Neither has choices.
  bool Avoids(const SchemaView& a, const SchemaView& b, int depth);
  bool ValuesAvoid(const SchemaView& a, const SchemaView& b, TypeSet common);
  bool NumbersAvoid(const SchemaView& a, const SchemaView& b);
  bool TextsAvoid(const SchemaView& a, const SchemaView& b);
  bool ArraysAvoid(const SchemaView& a, const SchemaView& b, int depth);
  bool ObjectsAvoid(const SchemaView& a, const SchemaView& b, int depth);
  // The same for views that may have choices.
  bool AllAvoid(const LocatedSchemas& a, const LocatedSchemas& b, int depth);

  SchemaViews& views_;
  SchemaShapes& shapes_;
  SchemaReport& report_;
  ExpressionPool& pool_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_OVERLAP_H_
