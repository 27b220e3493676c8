// JSON schemas as grammars.
//
// Types: object (properties, required, additionalProperties), array (items, prefixItems, minItems,
// maxItems), string (minLength, maxLength or pattern; format date, time, date-time, uuid), integer
// and number (minimum, maximum, exclusiveMinimum, exclusiveMaximum), boolean, null; lists of types;
// enum, const, anyOf, local $ref, also recursive; true, {} and false. Annotations are ignored. Any
// other keyword is refused by name, and so is one beside others that it would have to be combined
// with (a type beside anyOf).
//
// What is written is compact JSON, with at most one space after ':' and ','. Properties come in the
// schema's order. An object with properties has no others unless additionalProperties says so.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_JSON_SCHEMA_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_JSON_SCHEMA_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/structured/expression.h"

namespace whipsnake::engine {

// INVALID_ARGUMENT with the field below `field` ("json_schema.properties.age.minimum"). An empty
// text is the schema of any value.
absl::StatusOr<Expression> CompileJsonSchema(std::string_view text, std::string_view field,
                                             ExpressionPool& pool);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_JSON_SCHEMA_H_
