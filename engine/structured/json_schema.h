// Compiles JSON schemas to grammars.
//
// Supported are object (properties, required, additionalProperties), array (items, prefixItems,
// minItems, maxItems), string (minLength, maxLength or pattern; format date, time, date-time,
// uuid), integer and number (minimum, maximum, exclusiveMinimum, exclusiveMaximum), boolean, null;
// lists of types; enum, const, anyOf, local $ref, also recursive; true, {} and false. Annotations
// are ignored. Any other keyword is refused by name, and so is a keyword that would have to be
// combined with another (a type beside anyOf).
//
// The output is compact JSON, with at most one space after ':' and ','. Properties come in the
// schema's order. An object with properties has no others unless additionalProperties allows them.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_JSON_SCHEMA_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_JSON_SCHEMA_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/structured/expression.h"

namespace whipsnake::engine {

// Returns INVALID_ARGUMENT with the path of the wrong field, which begins with `field`
// ("json_schema.properties.age.minimum"). An empty text is the schema of any value.
absl::StatusOr<Expression> CompileJsonSchema(std::string_view text, std::string_view field,
                                             ExpressionPool& pool);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_JSON_SCHEMA_H_
