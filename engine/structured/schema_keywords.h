// The keywords of JSON Schema and what becomes of them.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_KEYWORDS_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_KEYWORDS_H_

#include <cstdint>
#include <string_view>

namespace whipsnake::engine {

// A set of types. A number is an integer or has a fraction.
using TypeSet = uint8_t;
inline constexpr TypeSet kNullType = 1, kBooleanType = 2, kIntegerType = 4, kFractionType = 8,
                         kStringType = 16, kArrayType = 32, kObjectType = 64;
inline constexpr TypeSet kNumberTypes = kIntegerType | kFractionType;
inline constexpr TypeSet kAllTypes = 127;

// The types of a name of "type"; none if it is not one.
TypeSet TypeNamed(std::string_view name);

// Does not restrict the value.
bool IsAnnotation(std::string_view keyword);
// Restricts the value by itself: "type", "enum", "minLength", ...
bool IsAssertion(std::string_view keyword);
// Applies other schemas to the same value: "$ref", "allOf", "anyOf", "oneOf".
bool IsApplicator(std::string_view keyword);
// Restricts the value, in a way that is not supported.
bool IsUnsupported(std::string_view keyword);

// The types that an assertion is about; none if it is about all.
TypeSet TypesAbout(std::string_view assertion);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_KEYWORDS_H_
