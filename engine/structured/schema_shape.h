// The keywords of a view, read by type: each function reads its keywords of all members and returns
// what they ask for together.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_SHAPE_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_SHAPE_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/structured/exact_json.h"
#include "engine/structured/number_grammar.h"
#include "engine/structured/schema_keywords.h"
#include "engine/structured/schema_view.h"
#include "engine/structured/text_language.h"

namespace whipsnake::engine {

using LocatedSchemas = std::vector<LocatedSchema>;

struct ArrayShape {
  int64_t min_count = 0;
  int64_t max_count = ExpressionPool::kUnbounded;
  std::vector<LocatedSchemas> prefix;  // by index
  LocatedSchemas rest;                 // of the items after them
  bool unique = false;
  std::string unique_path;
};

struct ObjectShape {
  struct Property {
    std::string name;
    LocatedSchemas schemas;
    bool required = false;
  };
  // Properties without a name of their own.
  struct Others {
    TextLanguage names;  // excludes those of the properties
    LocatedSchemas schemas;
  };

  int64_t min_count = 0;
  int64_t max_count = ExpressionPool::kUnbounded;
  std::vector<Property> properties;  // in the order in which they are written
  std::vector<Others> others;        // no name is in two of them
  bool impossible = false;           // a required property cannot be there
  std::string min_path;              // for messages

  const Property* Find(std::string_view name) const;
};

// What is generated for a schema is valid for it, but not all that is valid is generated: keywords
// imply their types, and some formats have fewer texts.
enum class Reading { kGenerated, kValid };

// Reads the keywords of views, of which it does not look at the choices. Not thread-safe.
class SchemaShapes {
 public:
  // All must outlive it.
  SchemaShapes(SchemaViews& views, SchemaReport& report, ExpressionPool& pool)
      : views_(views), report_(report), pool_(pool) {}

  // The types of the value. If no member names one, the types that its keywords are about are
  // generated.
  TypeSet TypesOf(const SchemaView& view, Reading reading = Reading::kGenerated);
  // The values that "const" and "enum" leave, as far as other keywords allow them; nullopt if the
  // view has neither.
  std::optional<std::vector<const ExactJson*>> ValuesOf(const SchemaView& view,
                                                        Reading reading = Reading::kGenerated);
  NumberRange RangeOf(const SchemaView& view);
  // Has no patterns of formats if it is of what is valid.
  TextLanguage TextOf(const SchemaView& view, Reading reading = Reading::kGenerated);
  ArrayShape ArrayOf(const SchemaView& view);
  ObjectShape ObjectOf(const SchemaView& view);

  // The types of a value.
  static TypeSet TypeOf(const ExactJson& value);
  // The values of `list` that satisfy the keywords of a view for numbers and texts.
  std::vector<const ExactJson*> Admitted(const SchemaView& view, Reading reading,
                                         const std::vector<const ExactJson*>& list);

 private:
  friend class ObjectReader;

  // Returns the count under `key`, or `otherwise` if it is absent.
  int64_t ReadCount(const LocatedSchema& schema, const char* key, int64_t otherwise);
  void ReadBound(const LocatedSchema& schema, const char* key, NumberRange& range);
  void ReadStep(const LocatedSchema& schema, NumberRange& range);
  void ReadFormat(const LocatedSchema& schema, int64_t max_count, TextLanguage& text);
  const ExactJson* ReadList(const LocatedSchema& schema, const char* key);
  TypeSet ReadType(const LocatedSchema& schema);

  SchemaViews& views_;
  SchemaReport& report_;
  ExpressionPool& pool_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_SHAPE_H_
