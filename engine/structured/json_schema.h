// Compiles JSON schemas to grammars.
//
// The keywords that are supported, and what is generated for them, are listed in
// docs/structured-output.md. Keywords and formats that JSON Schema does not know are annotations,
// and named in warnings. Any keyword that cannot be honoured is refused by name.
//
// A schema is read as a conjunction of the schemas that apply to the same value (schema_view.h),
// whose keywords are read by type (schema_shape.h) and turned into expressions here.
//
// The output is compact JSON, with at most one space after ':' and ','. Properties come in the
// schema's order. An object with properties has no others unless additionalProperties allows them.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_JSON_SCHEMA_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_JSON_SCHEMA_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/structured/expression.h"

namespace whipsnake::engine {

struct CompiledSchema {
  Expression root = ExpressionPool::kNothing;
  // What the schema has that does not limit the output, each with its path; a bounded number.
  std::vector<std::string> warnings{};
};

// Returns INVALID_ARGUMENT with the path of the wrong field, which begins with `field`
// ("json_schema.properties.age.minimum"), also of a part without which there is no value and which
// no value satisfies. Returns RESOURCE_EXHAUSTED with the path of the part for which the work of
// the pool does not suffice. An empty text is the schema of any value.
absl::StatusOr<CompiledSchema> CompileJsonSchema(std::string_view text, std::string_view field,
                                                 ExpressionPool& pool);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_JSON_SCHEMA_H_
