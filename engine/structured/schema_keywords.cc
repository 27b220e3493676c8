#include "engine/structured/schema_keywords.h"

#include <algorithm>
#include <array>
#include <utility>

namespace whipsnake::engine {
namespace {

constexpr std::array<std::string_view, 23> kAnnotations = {
    "title",         "description",   "default",
    "examples",      "$schema",       "$id",
    "$comment",      "$defs",         "definitions",
    "$anchor",       "deprecated",    "readOnly",
    "writeOnly",     "discriminator", "contentEncoding",
    "minContains",   "maxContains",   "contentMediaType",
    "contentSchema", "$vocabulary",   "$dynamicAnchor",
    "then",          "else"};

constexpr std::array<std::string_view, 10> kUnsupported = {"if",
                                                           "contains",
                                                           "dependentRequired",
                                                           "dependentSchemas",
                                                           "dependencies",
                                                           "unevaluatedItems",
                                                           "unevaluatedProperties",
                                                           "$dynamicRef",
                                                           "$recursiveRef",
                                                           "$recursiveAnchor"};

// Assertions and the types that they are about.
constexpr std::array<std::pair<std::string_view, TypeSet>, 27> kAssertions = {{
    {"type", 0},
    {"nullable", 0},
    {"const", 0},
    {"enum", 0},
    {"not", 0},
    {"properties", kObjectType},
    {"required", kObjectType},
    {"additionalProperties", kObjectType},
    {"patternProperties", kObjectType},
    {"propertyNames", kObjectType},
    {"minProperties", kObjectType},
    {"maxProperties", kObjectType},
    {"items", kArrayType},
    {"prefixItems", kArrayType},
    {"additionalItems", kArrayType},
    {"minItems", kArrayType},
    {"maxItems", kArrayType},
    {"uniqueItems", kArrayType},
    {"minLength", kStringType},
    {"maxLength", kStringType},
    {"pattern", kStringType},
    {"format", kStringType},
    {"minimum", kNumberTypes},
    {"maximum", kNumberTypes},
    {"exclusiveMinimum", kNumberTypes},
    {"exclusiveMaximum", kNumberTypes},
    {"multipleOf", kNumberTypes},
}};

constexpr std::array<std::pair<std::string_view, TypeSet>, 7> kTypes = {{{"null", kNullType},
                                                                         {"boolean", kBooleanType},
                                                                         {"integer", kIntegerType},
                                                                         {"number", kNumberTypes},
                                                                         {"string", kStringType},
                                                                         {"array", kArrayType},
                                                                         {"object", kObjectType}}};

}  // namespace

TypeSet TypeNamed(std::string_view name) {
  const auto* found = std::ranges::find(kTypes, name, &std::pair<std::string_view, TypeSet>::first);
  return found == kTypes.end() ? 0 : found->second;
}

bool IsAnnotation(std::string_view keyword) {
  return std::ranges::count(kAnnotations, keyword) > 0;
}

bool IsAssertion(std::string_view keyword) {
  return std::ranges::count(kAssertions, keyword, &std::pair<std::string_view, TypeSet>::first) > 0;
}

bool IsApplicator(std::string_view keyword) {
  return keyword == "$ref" || keyword == "allOf" || keyword == "anyOf" || keyword == "oneOf";
}

bool IsUnsupported(std::string_view keyword) {
  return std::ranges::count(kUnsupported, keyword) > 0;
}

TypeSet TypesAbout(std::string_view assertion) {
  const auto* found =
      std::ranges::find(kAssertions, assertion, &std::pair<std::string_view, TypeSet>::first);
  return found == kAssertions.end() ? 0 : found->second;
}

}  // namespace whipsnake::engine
