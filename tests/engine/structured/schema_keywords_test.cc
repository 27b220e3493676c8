// The keywords of JSON Schema, one by one: what they accept and refuse, and that random outputs of
// their combinations validate.
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/engine/structured/schema_validator.h"
#include "tests/engine/structured/support.h"

namespace whipsnake::engine {
namespace {

struct KeywordCase {
  std::string schema;
  std::vector<std::string> in, out;
};

void ExpectExactly(const std::vector<KeywordCase>& cases) {
  for (const KeywordCase& one : cases) {
    CompiledConstraint compiled = Schema(one.schema);
    ASSERT_TRUE(compiled.status().ok()) << one.schema << ": " << compiled.status();
    for (const std::string& text : one.in)
      EXPECT_TRUE(compiled.Accepts(text)) << one.schema << "\n" << text;
    for (const std::string& text : one.out)
      EXPECT_FALSE(compiled.Accepts(text)) << one.schema << "\n" << text;
  }
}

// Numbers of a schema never become doubles: a double rounds the first of these to ...992.
TEST(SchemaKeywordsTest, NumbersKeepTheirDigits) {
  ExpectExactly({
      {R"({"type": "integer", "minimum": 9007199254740993, "maximum": 9007199254740993})",
       {"9007199254740993"},
       {"9007199254740992", "9007199254740994"}},
      {R"({"type": "integer", "minimum": 9223372036854775806, "maximum": 9223372036854775807})",
       {"9223372036854775806", "9223372036854775807"},
       {"9223372036854775808", "9223372036854775805"}},
      {R"({"maximum": -18446744073709551617, "minimum": -18446744073709551618})",
       {"-18446744073709551617", "-18446744073709551618"},
       {"-18446744073709551616", "-18446744073709551619"}},
      {R"({"type": "number", "minimum": 0.1000000000000000055, "maximum": 0.1000000000000000056})",
       {"0.1000000000000000055", "0.1000000000000000056"},
       {"0.1", "0.1000000000000000054", "0.1000000000000000057"}},
      {R"({"type": "number", "minimum": 12e-1, "maximum": 1.3E0})", {"1.2", "1.3"}, {"1.19", "2"}},
      {R"({"const": 123456789012345678901234567890})",
       {"123456789012345678901234567890"},
       {"123456789012345680000000000000", "1.2345678901234568e+29"}},
      {R"({"enum": [9007199254740993, 1e300, 0.10]})",
       {"9007199254740993", "0.10"},
       {"9007199254740992", "0.1"}},
      {R"({"enum": [1.0, 1.5, 3, "1", 12345678901234567890.5], "type": "integer"})",
       {"1.0", "3"},
       {"1.5", "\"1\"", "12345678901234567890.5"}},
      {R"({"enum": [1, 5, 9007199254740993], "minimum": 5, "maximum": 9007199254740992})",
       {"5"},
       {"1", "9007199254740993"}},
      {R"({"const": "a", "type": ["string", "null"]})", {"\"a\""}, {"null"}},
      {R"({"type": "number", "maximum": 1.7976931348623157e308})", {"1", "-999999999999999"}, {}},
      {R"({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1000})",
       {"0.000000000000001", "999.999999999999"},
       {"0", "1000", "999.9999999999999", "0.0000000000000001"}},
  });
}

TEST(SchemaKeywordsTest, MultipleOf) {
  for (const int step : {1, 2, 7, 12, 25, 1000}) {
    CompiledConstraint compiled =
        Schema(absl::StrCat(R"({"type": "integer", "maximum": 2000, "multipleOf": )", step, "}"));
    for (int value = -1100; value <= 2100; ++value) {
      EXPECT_EQ(compiled.Accepts(absl::StrCat(value)), value % step == 0 && value <= 2000)
          << value << " of " << step;
    }
  }
  ExpectExactly({
      {R"({"type": "number", "multipleOf": 0.25})",
       {"0", "0.25", "-1.5", "0.50", "3.00", "7", "123456789012.75"},
       {"0.1", "0.3", "0.255", "0.250"}},
      {R"({"type": "number", "multipleOf": 0.01, "minimum": 0, "exclusiveMaximum": 1})",
       {"0", "0.07", "0.5", "0.99"},
       {"1", "1.00", "0.001", "-0.01"}},
      {R"({"type": "integer", "multipleOf": 1.5})", {"0", "3", "-6"}, {"1", "2", "4", "1.5"}},
      {R"({"allOf": [{"multipleOf": 4}, {"multipleOf": 6}], "type": "integer"})",
       {"0", "12", "-24"},
       {"4", "6", "8"}},
      {R"({"type": "integer", "multipleOf": 4000})", {"0", "16000"}, {"1", "400", "2000"}},
  });
}

// ECMA-262: \S is not white space of Unicode, and . is no line terminator.
TEST(SchemaKeywordsTest, PatternsHaveTheClassesOfEcmaScript) {
  const std::vector<std::string> spaces = {"\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80",
                                           "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf",
                                           "\xe2\x81\x9f", "\xe3\x80\x80", "\xef\xbb\xbf"};
  CompiledConstraint none = Schema(R"({"type": "string", "pattern": "^\\S$"})");
  CompiledConstraint space = Schema(R"({"type": "string", "pattern": "^\\s$"})");
  CompiledConstraint regex = Regex("\\S");
  for (const std::string& text : spaces) {
    EXPECT_FALSE(none.Accepts("\"" + text + "\"")) << text;
    EXPECT_FALSE(regex.Accepts(text)) << text;
    EXPECT_TRUE(space.Accepts("\"" + text + "\"")) << text;
  }
  for (const char* text : {"\"a\"", "\"\xc3\xa9\"", "\"\xe2\x80\x8b\""}) {
    EXPECT_TRUE(none.Accepts(text)) << text;
    EXPECT_FALSE(space.Accepts(text)) << text;
  }
  ExpectExactly({{R"({"type": "string", "pattern": "^.$"})",
                  {"\"a\"", "\"\\t\"", "\"\xe2\x80\xa7\""},
                  {"\"\\n\"", "\"\\r\"", "\"\xe2\x80\xa8\"", "\"\xe2\x80\xa9\"", "\"\""}}});
}

TEST(SchemaKeywordsTest, PatternsAreCombined) {
  ExpectExactly({
      {R"({"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 3})",
       {R"("ab")", R"("abc")"},
       {R"("a")", R"("abcd")", R"("aB")"}},
      {R"({"type": "string", "pattern": "b", "maxLength": 2})",
       {R"("b")", R"("ab")", R"("b\u0001")", R"("bé")"},
       {R"("a")", R"("aab")", R"("")"}},
      {R"({"type": "string", "pattern": "^[A-Z]{3}$", "minLength": 1, "maxLength": 900000})",
       {R"("ABC")"},
       {R"("AB")", R"("ABCD")"}},
      {R"({"type": "string", "allOf": [{"pattern": "^a"}, {"pattern": "z$"}], "maxLength": 3})",
       {R"("az")", R"("abz")"},
       {R"("a")", R"("z")", R"("abbz")"}},
      {R"x({"type": "string", "pattern": "^(?!ab|.*c$)(?=.{2,3}$)[a-c]*$"})x",
       {R"("aa")", R"("acb")", R"("bab")"},
       {R"("ab")", R"("aba")", R"("ac")", R"("a")", R"("aaaa")"}},
      {R"x({"type": "string", "pattern": "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$"})x",
       {R"("1")", R"("-0.5")", R"("+12.")"},
       {R"("")", R"("-")", R"("+.")", R"("1a")"}},
      {R"x({"type": "string", "pattern": "^a(?:b|(?=[bc]{2}$)c*b?)$"})x",
       {R"("ab")", R"("acc")", R"("acb")"},
       {R"("a")", R"("ac")", R"("abb")", R"("accb")"}},
      {R"x({"type": "string", "pattern": "^(?!b)a|b(?=c)", "maxLength": 2})x",
       {R"("a")", R"("bc")"},
       {R"("b")", R"("ba")"}},
      {R"x({"type": "string", "pattern": "^x(a$|b)", "maxLength": 3})x",
       {R"("xa")", R"("xb")", R"("xbc")"},
       {R"("xab")", R"("a")"}},
      {R"({"enum": ["a", "bb", "ccc", 4], "pattern": "^[a-b]", "minLength": 2})",
       {R"("bb")", "4"},
       {R"("a")", R"("ccc")"}},
  });
}

TEST(SchemaKeywordsTest, Formats) {
  ExpectExactly({
      {R"({"type": "string", "format": "date"})",
       {R"("2024-02-29")", R"("0001-01-01")", R"("9999-12-31")", R"("2000-02-29")",
        R"("0004-02-29")"},
       {R"("2023-02-29")", R"("1900-02-29")", R"("0000-01-01")", R"("0000-02-29")",
        R"("2024-04-31")", R"("2024-13-01")", R"("2024-00-10")"}},
      {R"({"type": "string", "format": "time"})",
       {R"("23:59:59Z")", R"("00:00:00.123+05:30")"},
       {R"("24:00:00Z")", R"("00:00:00")"}},
      {R"({"type": "string", "format": "date-time"})",
       {R"("2024-02-29T12:00:00Z")"},
       {R"("2023-02-29T12:00:00Z")", R"("2024-02-29 12:00:00Z")"}},
      {R"({"type": "string", "format": "duration"})",
       {R"("P1Y2M3D")", R"("PT1H")", R"("P2W")", R"("P1DT2H3M4S")", R"("PT5M")"},
       {R"("P")", R"("PT")", R"("P1Y3D")", R"("P1W2D")", R"("P1S")"}},
      {R"({"type": "string", "format": "uuid"})",
       {R"("01234567-89ab-cdef-0123-456789abcdef")"},
       {R"("0123456789abcdef0123456789abcdef")"}},
      {R"({"type": "string", "format": "uuid4"})",
       {R"("01234567-89ab-4def-8123-456789abcdef")"},
       {R"("01234567-89ab-1def-8123-456789abcdef")"}},
      {R"({"type": "string", "format": "ipv4"})",
       {R"("255.0.10.199")"},
       {R"("256.0.0.1")", R"("1.2.3")", R"("01.2.3.4")"}},
      {R"({"type": "string", "format": "ipv6"})",
       {R"("::")", R"("::1")", R"("1::")", R"("1:2:3:4:5:6:7:8")", R"("fe80::1:2")"},
       {R"(":")", R"("1:2:3:4:5:6:7")", R"("1::2::3")", R"("12345::")", R"("1:2:3:4:5:6:7:8::")"}},
      {R"({"type": "string", "format": "email"})",
       {R"("a.b+c@example.com")", R"("x@a.b-c.org")"},
       {R"("a")", R"("@b.com")", R"("a@b")", R"("a..b@c.de")", R"("a@-b.com")"}},
      {R"({"type": "string", "format": "hostname"})",
       {R"("example.com")", R"("a")", R"("a-b.c")"},
       {R"("-a")", R"("a-")", R"("a..b")", R"("")"}},
      {R"({"type": "string", "format": "uri"})",
       {R"("https://example.com:80/a/b?c=d#e")", R"("mailto:a@b.de")", R"("urn:isbn:1")"},
       {R"("example.com")", R"("http://a b")", R"("http:")"}},
      {R"({"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083})",
       {R"("https://example.com/")"},
       {R"("")"}},
      {R"({"type": "string", "format": "uri", "maxLength": 12})",
       {R"("http://a.b/c")"},
       {R"("http://a.b/cd")"}},
      {R"({"type": "string", "format": "byte"})",
       {R"("")", R"("QUJD")", R"("QUI=")", R"("QQ==")"},
       {R"("QUJ")", R"("QR==")", R"("QUJ=")"}},
  });
}

TEST(SchemaKeywordsTest, TypesBesideKeywords) {
  ExpectExactly({
      {R"({"type": ["string", "null"], "maxLength": 1})", {R"("a")", "null"}, {R"("ab")", "1"}},
      {R"({"type": ["integer", "array"], "minimum": 3, "maxItems": 0})", {"3", "[]"}, {"2", "[1]"}},
      {R"({"type": ["integer", "number"]})", {"1", "1.5"}, {"null"}},
      {R"({"type": "string", "nullable": true, "enum": ["a", null]})", {R"("a")", "null"}, {"1"}},
      {R"({"type": "string", "nullable": false})", {R"("a")"}, {"null"}},
      {R"({"minLength": 1, "maximum": 2})", {R"("a")", "2"}, {R"("")", "3", "null"}},
      {R"({"type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 1})", {"1"}, {"0"}},
  });
}

TEST(SchemaKeywordsTest, AllOfAndReferencesAreConjunctions) {
  ExpectExactly({
      {R"({"allOf": [{"type": "object", "properties": {"a": {"minimum": 3}}, "required": ["a"]},
                     {"properties": {"a": {"type": "integer", "maximum": 4}, "b": {"const": 1}}}]})",
       {R"({"a":3})", R"({"a":4,"b":1})"},
       {R"({})", R"({"a":5})", R"({"a":2})", R"({"a":3,"b":2})", R"({"a":3,"c":1})"}},
      {R"({"$ref": "#/$defs/a", "maximum": 4, "$defs": {"a": {"type": "integer", "minimum": 3}}})",
       {"3", "4"},
       {"2", "5"}},
      {R"({"type": "integer", "anyOf": [{"maximum": 1}, {"minimum": 5}], "minimum": 0})",
       {"0", "1", "5"},
       {"-1", "2", "1.5"}},
      {R"({"anyOf": [{"minimum": 1}, {"multipleOf": 2}], "allOf": [{"anyOf": [{"maximum": 2},
          {"const": 9}]}], "type": "integer", "maximum": 9})",
       {"1", "2", "-2", "9"},
       {"3", "4", "-1"}},
      {R"({"$ref": "#/$defs/a%20b~1c", "$defs": {"a b/c": {"const": 1}}})", {"1"}, {"2"}},
      {R"({"$ref": "#name", "$defs": {"x": {"$anchor": "name", "const": 1}}})", {"1"}, {"2"}},
      {R"({"$id": "http://x/y", "$ref": "http://x/y#/$defs/a", "$defs": {"a": {"const": 1}}})",
       {"1"},
       {"2"}},
      {R"({"allOf": [{"$ref": "#/$defs/tree"}, {"properties": {"v": {"maximum": 1}}}],
          "$defs": {"tree": {"type": "object", "properties": {"v": {"type": "integer"},
          "next": {"$ref": "#/$defs/tree"}}}}})",
       {R"({"v":1,"next":{"v":2}})"},
       {R"({"v":2})"}},
  });
}

constexpr char kPets[] = R"({"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
  "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}},
  "$defs": {
    "Cat": {"type": "object", "properties": {"kind": {"const": "cat", "default": "cat"}, "n": {"const": 1}}},
    "Dog": {"type": "object", "properties": {"kind": {"const": "dog"}, "n": {"const": 2}},
            "required": ["kind"]}}})";

TEST(SchemaKeywordsTest, OneOfIsAChoiceOfBranchesThatExcludeOneAnother) {
  ExpectExactly({
      {R"({"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]})",
       {R"("a")", "1", "null"},
       {"1.5", "true"}},
      {R"({"oneOf": [{"const": 1}, {"enum": [2, "a"]}]})", {"1", "2", R"("a")"}, {"3"}},
      {R"({"oneOf": [{"type": "integer", "maximum": 0}, {"type": "integer", "minimum": 5}]})",
       {"0", "5"},
       {"3"}},
      // The property that a discriminator names is always there.
      {kPets,
       {R"({"kind":"cat"})", R"({"kind":"dog","n":2})"},
       {R"({})", R"({"n":1})", R"({"kind":"cat","n":2})"}},
      {R"({"oneOf": [{"type": "object", "properties": {"a": {}}, "required": ["a"]},
                     {"type": "object", "properties": {"b": {}}, "required": ["b"]}]})",
       {R"({"a":1})", R"({"b":1})"},
       {R"({"a":1,"b":1})", "{}"}},
      {R"({"oneOf": [{"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^b"}]})",
       {R"("a")", R"("bc")"},
       {R"("c")", R"("")"}},
      {R"({"oneOf": [{"type": "array", "prefixItems": [{"const": 1}], "minItems": 1},
                     {"type": "array", "prefixItems": [{"const": 2}], "minItems": 1}]})",
       {"[1]", "[2,3]"},
       {"[]", "[3]"}},
  });
  for (
      const char* overlapping :
      {R"({"oneOf": [{"type": "string"}, {"const": "a"}]})",
       R"({"oneOf": [{"minimum": 3}, {"type": "string"}]})",  // the first allows every string
       R"({"oneOf": [{"type": "integer", "maximum": 5}, {"type": "number", "minimum": 5}]})",
       R"({"oneOf": [{"type": "object", "properties": {"a": {}}},
                         {"type": "object", "properties": {"b": {}}}]})",
       R"({"oneOf": [{"type": "string", "format": "email"}, {"type": "string", "format": "uri"}]})",
       R"({"oneOf": [{"type": "object", "properties": {"k": {"const": 1}}},
                         {"type": "object", "properties": {"k": {"const": 2}}, "required": ["k"]}]})",
       R"({"oneOf": [true, {"type": "null"}]})"}) {
    EXPECT_EQ(Schema(overlapping).field(), "json_schema.oneOf[1]") << overlapping;
  }
  // Where only the values of the branches are taken.
  EXPECT_EQ(Schema(R"({"type": "object", "propertyNames": {"enum": ["a"], "oneOf": [true, {}]}})")
                .field(),
            "json_schema.propertyNames.oneOf[1]");
  EXPECT_EQ(Schema(R"({"items": {"enum": [1], "oneOf": [true, {}]}, "uniqueItems": true})").field(),
            "json_schema.items.oneOf[1]");
}

TEST(SchemaKeywordsTest, Arrays) {
  ExpectExactly({
      {R"({"type": "array", "items": [{"const": 1}, {"const": 2}], "additionalItems": {"const": 3}})",
       {"[]", "[1]", "[1,2]", "[1,2,3,3]"},
       {"[2]", "[1,3]", "[1,2,4]"}},
      {R"({"type": "array", "items": {"enum": [1, 1.0, 2]}, "uniqueItems": true})",
       {"[]", "[1]", "[2,1]"},
       {"[1,1]", "[1,1.0]", "[1,2,1]"}},
      {R"({"items": {"anyOf": [{"type": "boolean"}, {"const": null}]}, "uniqueItems": true,
           "minItems": 2, "maxItems": 2})",
       {"[true,null]", "[null,false]"},
       {"[true]", "[true,true]", "[true,false,null]"}},
      // Of many values, in the order of the list.
      {R"({"items": {"enum": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}, "uniqueItems": true, "minItems": 2})",
       {"[0,9]", "[3,4,5]", "[0,1,2,3,4,5,6,7,8,9]"},
       {"[1]", "[4,3]", "[4,4]"}},
      {R"({"type": "array", "uniqueItems": true, "maxItems": 1})", {"[]", R"(["a"])"}, {"[1,2]"}},
      {R"({"allOf": [{"prefixItems": [{"minimum": 1}], "items": {"maximum": 5}},
                     {"items": {"type": "integer"}, "maxItems": 2}]})",
       {"[1]", "[9,5]"},
       {"[0]", "[1,6]", "[1,1,1]", "[1.5]"}},
  });
}

TEST(SchemaKeywordsTest, NamesOfProperties) {
  ExpectExactly({
      {R"({"type": "object", "patternProperties": {"^x": {"const": 1}}})",
       {"{}", R"({"x":1,"xy":1})"},
       {R"({"y":1})", R"({"x":2})"}},
      {R"({"type": "object", "patternProperties": {"a": {"type": "integer"}, "b": {"minimum": 3}},
           "additionalProperties": {"const": "o"}})",
       {R"({"a":1,"ab":3,"b":3,"c":"o"})"},
       {R"({"ab":2})", R"({"ab":3.5})", R"({"c":1})", R"({"a":"o"})"}},
      {R"({"properties": {"ax": {"maximum": 5}}, "patternProperties": {"^a": {"minimum": 3}},
           "additionalProperties": false})",
       {R"({"ax":4})", R"({"ab":9})"},
       {R"({"ax":2})", R"({"ax":6})", R"({"b":3})"}},
      {R"({"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"const": 1}})",
       {"{}", R"({"a":1})", R"({"a":1,"b":1})"},
       {R"({"c":1})", R"({"a":1,"a":1})", R"({"a":2})"}},
      {R"({"type": "object", "propertyNames": {"pattern": "^[a-z]+$", "maxLength": 2}})",
       {R"({"ab":[]})"},
       {R"({"abc":1})", R"({"A":1})", R"({"":1})"}},
      {R"({"type": "object", "properties": {"a": {}, "long": {}}, "propertyNames": {"maxLength": 1}})",
       {R"({"a":1})"},
       {R"({"long":1})"}},
      {R"({"properties": {"a": {"const": 1}}, "required": ["b", "a"]})",
       {R"({"a":1,"b":[2]})"},
       {R"({"a":1})", R"({"b":1})", R"({"a":1,"b":1,"c":1})"}},
      {R"({"type": "object", "required": ["b"], "additionalProperties": {"const": 1}})",
       {R"({"b":1,"c":1})"},
       {"{}", R"({"b":2})"}},
      {R"({"properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}}, "minProperties": 1,
           "maxProperties": 2})",
       {R"({"a":1})", R"({"b":2,"c":3})", R"({"c":3})"},
       {"{}", R"({"a":1,"b":2,"c":3})"}},
      {R"({"type": "object", "additionalProperties": {"const": 1}, "minProperties": 1, "maxProperties": 2})",
       {R"({"x":1})", R"({"x":1,"y":1})"},
       {"{}", R"({"x":1,"y":1,"z":1})"}},
      {R"({"properties": {"a": {"const": 1}}, "additionalProperties": {"const": 2}, "minProperties": 2})",
       {R"({"a":1,"x":2})"},
       {R"({"a":1})", R"({"x":2})", R"({"x":2,"x":2})"}},  // a name twice is one property
  });
}

TEST(SchemaKeywordsTest, WhatIsNotKnownIsNamedInWarnings) {
  CompiledConstraint compiled = Schema(
      R"({"type": "object", "properties": {"a": {"type": "string", "format": "color", "widget": 1}},
          "required": ["a"], "x-order": [1], "title": "T"})");
  ASSERT_TRUE(compiled.status().ok()) << compiled.status();
  EXPECT_EQ(
      compiled.constraint().warnings(),
      (std::vector<std::string>{
          "json_schema.x-order: an unknown keyword, which does not limit the output",
          "json_schema.properties.a.widget: an unknown keyword, which does not limit the output",
          "json_schema.properties.a.format: \"color\" is not a known format and does not limit the "
          "output"}));
  std::string many = R"({"type": "null")";
  for (int i = 0; i < 100; ++i) many += absl::StrCat(", \"x", i, "\": 1");
  CompiledConstraint bounded = Schema(many + "}");
  ASSERT_TRUE(bounded.status().ok());
  EXPECT_EQ(bounded.constraint().warnings().size(), 17);
  EXPECT_EQ(bounded.constraint().warnings().back(), "and 84 more");
  EXPECT_TRUE(Schema(R"({"type": "null", "title": "T"})").constraint().warnings().empty());
}

// What is generated is valid in JSON Schema's own sense.
TEST(SchemaKeywordsTest, RandomOutputsOfCombinationsValidate) {
  const std::vector<std::string> schemas = {
      kPets,
      R"({"type": "integer", "multipleOf": 6, "minimum": -40, "maximum": 1000})",
      R"({"type": "number", "multipleOf": 0.05, "minimum": -3, "exclusiveMaximum": 12.5})",
      R"({"type": "string", "pattern": "^[ab]+c?$", "minLength": 3, "maxLength": 9})",
      R"({"type": "string", "pattern": "b[a-c]b", "maxLength": 12})",
      R"x({"type": "string", "pattern": "^(?!a*b)(?=.{3,8}$)[a-d]*$"})x",
      R"({"type": "string", "format": "date"})",
      R"({"type": ["string", "integer", "null"], "maxLength": 3, "minimum": 7})",
      R"({"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"], "type": "object"},
          {"properties": {"b": {"type": "boolean"}, "a": {"maximum": 10}}}]})",
      R"({"type": "object", "patternProperties": {"^a": {"type": "integer"}, "b$": {"type": "number",
          "minimum": 3}}, "additionalProperties": {"type": "boolean"}, "maxProperties": 4})",
      R"({"type": "object", "propertyNames": {"enum": ["x", "y", "z"]}, "minProperties": 2,
          "additionalProperties": {"type": "null"}})",
      R"({"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["c", "d"],
          "minProperties": 3, "maxProperties": 3})",
      R"({"type": "array", "items": {"enum": ["a", "b", 3, null]}, "uniqueItems": true, "minItems": 2})",
      R"({"type": "array", "items": [{"type": "null"}, {"type": "boolean"}], "additionalItems": false})",
      R"({"oneOf": [{"type": "object", "properties": {"t": {"const": 1}, "o": {"oneOf": [
          {"type": "string"}, {"type": "null"}]}}, "required": ["t", "o"]}, {"type": "object",
          "properties": {"t": {"const": 2}}, "required": ["t"]}, {"type": "array", "maxItems": 2}]})",
      R"({"anyOf": [{"type": "integer", "minimum": 3}, {"type": "string"}], "maximum": 9, "maxLength": 4,
          "not": false})",
      R"({"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"anyOf": [
          {"type": "null"}, {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}},
          "required": ["n"]}]}}})",
  };
  for (const std::string& text : schemas) {
    const Json schema = Json::parse(text);
    const Validator validator(schema, /*closed=*/false);
    CompiledConstraint compiled = Schema(text);
    ASSERT_TRUE(compiled.status().ok()) << text << compiled.status();
    for (int i = 0; i < 40; ++i) {
      std::mt19937_64 random(i);
      const auto output =
          compiled.Generate(compiled.constraint().shortest_tokens() + i * 2, random);
      ASSERT_TRUE(output) << text;
      const Json value = Json::parse(*output, nullptr, /*allow_exceptions=*/false);
      ASSERT_FALSE(value.is_discarded()) << text << "\n" << *output;
      EXPECT_TRUE(validator.Valid(value, schema)) << text << "\n" << *output;
    }
  }
}

// Each of these would take very long, or very much memory, without a bound on the work.
TEST(SchemaKeywordsTest, CombinationsAreBounded) {
  std::string choices;
  for (int i = 0; i < 40; ++i) {
    choices += absl::StrCat(i > 0 ? "," : "", R"({"anyOf": [{"minimum": )", i, R"(}, {"maximum": )",
                            -i, "}]}");
  }
  EXPECT_FALSE(Schema(R"({"allOf": [)" + choices + "]}").status().ok());
  std::string multiples;
  for (int i = 0; i < 500; ++i) {
    multiples += absl::StrCat(i > 0 ? "," : "", "\"k", i,
                              R"(": {"type": "integer", "multipleOf": )", 8111 - i, "}");
  }
  EXPECT_FALSE(Schema(R"({"properties": {)" + multiples + "}}").status().ok());
  std::string branches;
  for (int i = 0; i < 900; ++i) {
    branches += absl::StrCat(i > 0 ? "," : "", R"({"properties": {"k": {"const": )", i,
                             R"(}}, "required": ["k"], "type": "object"})");
  }
  EXPECT_FALSE(Schema(R"({"oneOf": [)" + branches + "]}").status().ok());
  EXPECT_FALSE(Schema(R"x({"type": "string", "pattern": "(a|b)*a(a|b){20}$", "minLength": 3000})x")
                   .status()
                   .ok());
  std::string members;
  for (int i = 0; i < 900; ++i) members += absl::StrCat(i > 0 ? "," : "", "\"k", i, "\": {}");
  EXPECT_FALSE(
      Schema(R"({"properties": {)" + members + R"(}, "minProperties": 450})").status().ok());
}

}  // namespace
}  // namespace whipsnake::engine
