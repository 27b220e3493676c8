// JSON schemas: which values they accept and refuse, and that all generated output validates.
#include <nlohmann/json.hpp>

#include "tests/engine/structured/schema_validator.h"
#include "tests/engine/structured/support.h"

namespace whipsnake::engine {
namespace {

const std::vector<std::string>& Schemas() {
  static const auto& schemas = *new std::vector<std::string>{
      R"({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer",
          "minimum": 0, "maximum": 120}}, "required": ["name", "age"]})",
      R"({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "null"},
          "c": {"type": "number"}}})",
      R"({"type": "object", "properties": {"a": true, "ab": {"const": 1}, "b": {"type": "null"}},
          "required": ["ab"], "additionalProperties": {"type": "integer"}})",
      R"({"type": "object", "additionalProperties": {"type": "array", "items": {"type": "boolean"}}})",
      R"({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4})",
      R"({"type": "array", "prefixItems": [{"type": "string", "maxLength": 3}, {"type": "null"}],
          "items": {"enum": [1, "x"]}, "minItems": 1, "maxItems": 5})",
      R"({"type": "string", "minLength": 2, "maxLength": 5})",
      R"({"type": "string", "pattern": "^[A-Z]{2}-\\d{3}$"})",
      R"({"type": "string", "pattern": "b+"})",
      R"({"type": "string", "format": "date"})",
      R"({"type": "number", "exclusiveMinimum": -1.5, "maximum": 2.25})",
      R"({"type": ["string", "null", "boolean"]})",
      R"({"enum": ["red", "green", null, 3, {"k": [1, 2]}, true]})",
      R"({"const": {"quote\"d": "tab\t", "list": [1.5, -2]}})",
      R"({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}, "maxItems": 2},
          {"const": "none"}]})",
      R"({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"value":
          {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
          "required": ["value", "next"]}}})",
      R"({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"},
          "maxItems": 2}}, "required": ["children"]})",
      R"({})",
      R"({"type": "object", "properties": {"é": {"type": "string", "maxLength": 2},
          "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number",
          "minimum": 0, "maximum": 1}}, "required": ["x"]}}}, "required": ["é", "list"]})",
      R"({"title": "T", "description": "d", "type": "array", "items": {"type": "array", "items":
          {"enum": ["a", "b"]}, "minItems": 1}, "maxItems": 3})",
  };
  return schemas;
}

// The overall requirement: each of 1,000 outputs of 20 schemas parses and validates.
TEST(JsonSchemaTest, GeneratedOutputValidates) {
  ASSERT_EQ(Schemas().size(), 20);
  int generated = 0;
  for (const std::string& text : Schemas()) {
    const Json schema = Json::parse(text);
    CompiledConstraint compiled = Schema(text);
    ASSERT_TRUE(compiled.status().ok()) << text << compiled.status();
    const int64_t min_tokens = compiled.constraint().shortest_tokens();
    for (int i = 0; i < 50; ++i, ++generated) {
      std::mt19937_64 random(i);
      const auto output = compiled.Generate(min_tokens + i * 2, random);
      ASSERT_TRUE(output) << text;
      const Json value = Json::parse(*output, nullptr, /*allow_exceptions=*/false);
      ASSERT_FALSE(value.is_discarded()) << text << "\n" << *output;
      EXPECT_TRUE(Validator(schema).Valid(value, schema)) << text << "\n" << *output;
    }
  }
  EXPECT_EQ(generated, 1000);
}

struct Case {
  std::string schema;
  std::vector<std::string> in, out;
};

TEST(JsonSchemaTest, AcceptsExactlyTheValidValues) {
  const std::vector<Case> cases = {
      {R"({"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}},
           "required": ["b"]})",
       {R"({"b":2})", R"({"a":1,"b":2})", R"({"b": 2, "c": 3})", R"({"a":1,"b":2,"c":3})"},
       {"{}", R"({"a":1})", R"({"b":2,"a":1})", R"({"b":2,})", R"({"b":2,"d":3})", R"({"b":  2})",
        R"({ "b":2})", R"({"b":2} )"}},
      {R"({"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": {"const": 0}})",
       {"{}", R"({"a":1})", R"({"x":0})", R"({"a":1,"x":0,"":0})", R"({"ab":0})", R"({"A":0})"},
       {R"({"a":0})", R"({"x":1})", R"({"\u0061":0})"}},
      {R"({"type": "string", "minLength": 1, "maxLength": 2})",
       {R"("a")", R"("ab")", R"("é€")", R"("\n\"")", R"("\u00e9x")", R"("\ud83d\ude00a")",
        "\"\xf0\x9f\x98\x80\""},
       {R"("")", R"("abc")", R"("\ud83d")", R"("\ude00")", "\"\n\"", R"("\x")",
        R"("\ud83d\ude00ab")", "\"\x80\""}},
      {R"({"type": "string", "pattern": "^\"\\\\\\n[^a]$"})",
       {R"("\"\\\nb")", R"("\"\\\n\t")"},
       {R"("\"\\\na")"}},
      {R"({"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 3})",
       {"[null]", "[null,null]", "[null, null, null]"},
       {"[]", "[null,null,null,null]", "[null,]", "[,]"}},
      {R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1]"}},
      {R"({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "items": false, "minItems": 1})",
       {"[1]", "[1,2]"},
       {"[]", "[1,2,3]", "[2]"}},
      {R"({"enum": ["a", "ab", 1, 10, null]})",
       {R"("a")", R"("ab")", "1", "10", "null"},
       {R"("b")", "100", "nul"}},
      {R"({"enum": ["a", 1, 1.5, null], "type": ["integer", "null"]})",
       {"1", "null"},
       {R"("a")", "1.5"}},
      {"{}",
       {"null", "[[],{}]", R"({"a":[1.5,"x",false]})", "-0.5", "0"},
       {"nulll", "[", "01", "1.", R"({"a"})"}},
      {"true", {"1"}, {""}},
      {R"({"type": "object", "properties": {"n": {"$ref": "#"}}})",
       {"{}", R"({"n":{"n":{}}})"},
       {R"({"n":1})"}},
      {R"({"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"type": "boolean"}}})",
       {"true"},
       {"1"}},
      {R"({"minimum": 3})", {"3", "4.5"}, {"2", "null"}},
  };
  for (const Case& one : cases) {
    CompiledConstraint compiled = Schema(one.schema);
    ASSERT_TRUE(compiled.status().ok()) << one.schema << ": " << compiled.status();
    for (const std::string& text : one.in)
      EXPECT_TRUE(compiled.Accepts(text)) << one.schema << "\n" << text;
    for (const std::string& text : one.out)
      EXPECT_FALSE(compiled.Accepts(text)) << one.schema << "\n" << text;
  }
}

// Returns one schema for each combination of `choices`. A value stands under its key; "" leaves the
// key out.
std::vector<std::string> Combinations(
    const std::vector<std::pair<std::string, std::vector<std::string>>>& choices) {
  std::vector<std::string> schemas = {R"({"title": "")"};
  for (const auto& [key, values] : choices) {
    std::vector<std::string> longer;
    for (const std::string& schema : schemas) {
      for (const std::string& value : values) {
        longer.push_back(value.empty() ? schema : schema + ", \"" + key + "\": " + value);
      }
    }
    schemas = std::move(longer);
  }
  for (std::string& schema : schemas) schema += "}";
  return schemas;
}

// Whether the members come in the order of the schema: its properties, then those that are only
// required, then others.
bool IsInOrder(const std::string& value, const std::string& schema) {
  const auto object = nlohmann::ordered_json::parse(value);
  const auto whole = nlohmann::ordered_json::parse(schema);
  if (!object.is_object()) return true;
  auto properties = whole.value("properties", nlohmann::ordered_json::object());
  for (const auto& name : whole.value("required", nlohmann::ordered_json::array())) {
    properties.emplace(name.get<std::string>(), nullptr);
  }
  int64_t last = -1;
  for (const auto& [key, unused] : object.items()) {
    const int64_t cursor = std::distance(properties.begin(), properties.find(key));
    if (cursor < last) return false;
    last = cursor;
  }
  return true;
}

// Compares with the validator in both directions: small values are accepted if and only if they
// validate and are in order, and generated output parses and validates.
void ExpectAgreement(const std::string& text, const std::vector<std::string>& values) {
  const Json schema = Json::parse(text);
  const Validator validator(schema);
  CompiledConstraint compiled = Schema(text);
  if (!compiled.status().ok()) {
    ASSERT_TRUE(absl::IsInvalidArgument(compiled.status())) << text << compiled.status();
    if (compiled.field() != "json_schema") return;  // a combination that is refused by name
    for (const std::string& value : values) {
      EXPECT_FALSE(validator.Valid(Json::parse(value), schema)) << text << "\n" << value;
    }
    return;
  }
  for (const std::string& value : values) {
    const bool valid = validator.Valid(Json::parse(value), schema) && IsInOrder(value, text);
    EXPECT_EQ(compiled.Accepts(value), valid) << text << "\n" << value;
  }
  for (int i = 0; i < 6; ++i) {
    std::mt19937_64 random(i);
    const auto output = compiled.Generate(compiled.constraint().shortest_tokens() + i * 3, random);
    ASSERT_TRUE(output) << text;
    const Json value = Json::parse(*output, nullptr, /*allow_exceptions=*/false);
    ASSERT_FALSE(value.is_discarded()) << text << "\n" << *output;
    EXPECT_TRUE(validator.Valid(value, schema)) << text << "\n" << *output;
  }
}

TEST(JsonSchemaTest, SmallArraysAgreeWithTheValidator) {
  const std::vector<std::string> counts = {"", "0", "1", "2"};
  for (const std::string& schema :
       Combinations({{"type", {R"("array")"}},
                     {"prefixItems",
                      {"", "[]", R"([{"const": 7}])", R"([{"type": "null"}, {"type": "boolean"}])",
                       "[false]", R"([{"const": 7}, false])"}},
                     {"items", {"", "true", "false", R"({"const": 7})", R"({"enum": [1, null]})"}},
                     {"minItems", counts},
                     {"maxItems", counts}})) {
    ExpectAgreement(schema, {"[]", "[7]", "[null]", "[7,7]", "[null,true]", "[7,1]", "[1,null]",
                             "[7,7,7]", "[null,false,1]", "[[]]", "[7,{}]"});
  }
}

TEST(JsonSchemaTest, SmallObjectsAgreeWithTheValidator) {
  for (const std::string& schema : Combinations(
           {{"type", {R"("object")"}},
            {"properties",
             {"", "{}", R"({"a": {"const": 7}})", R"({"a": {"const": 7}, "b": {"type": "null"}})",
              R"({"a": false})", R"({"": {"const": 7}, "b": true})", R"({"ab": {}, "a": {}})"}},
            {"required", {"", "[]", R"(["a"])", R"(["b"])", R"(["b", "a"])"}},
            {"additionalProperties", {"", "true", "false", R"({"const": 1})"}}})) {
    ExpectAgreement(schema, {"{}", R"({"a":7})", R"({"b":null})", R"({"a":7,"b":null})",
                             R"({"c":1})", R"({"a":7,"c":1})", R"({"a":1})", R"({"":7})",
                             R"({"ab":[]})", R"({"a":7,"b":null,"c":1,"d":1})", R"({"c":{}})"});
  }
}

TEST(JsonSchemaTest, SmallScalarsAgreeWithTheValidator) {
  const std::vector<std::string> values = {"0",  "1",  "-1",    "2",     R"("")", R"("a")",
                                           "[]", "{}", "null",  "true",  "0.5",   R"("aa")",
                                           "-2", "10", "false", R"("é")"};
  const std::vector<std::string> bounds = {"", "0", "1", "-1", "2"};
  for (const std::string& schema : Combinations({{"type", {R"("string")"}},
                                                 {"minLength", {"", "0", "1", "2"}},
                                                 {"maxLength", {"", "0", "1", "2"}}})) {
    ExpectAgreement(schema, values);
  }
  for (const char* type : {R"("integer")", R"("number")"}) {
    for (const std::string& schema :
         Combinations({{"type", {type}}, {"minimum", bounds}, {"exclusiveMaximum", bounds}})) {
      ExpectAgreement(schema, values);
    }
    for (const std::string& schema :
         Combinations({{"type", {type}}, {"exclusiveMinimum", bounds}, {"maximum", bounds}})) {
      ExpectAgreement(schema, values);
    }
  }
  for (const std::string& schema : Combinations(
           {{"enum", {"", "[0]", R"(["", null])", "[[], {}]"}},
            {"type", {"", R"("null")", "[]", R"(["array", "string"])", R"("integer")"}}})) {
    ExpectAgreement(schema, values);
  }
  for (const std::string& schema :
       Combinations({{"anyOf",
                      {"[false, true]", "[false, false]", R"([{"const": 0}, false])",
                       R"([{"type": "array", "maxItems": 0}, {"enum": [null]}])"}}})) {
    ExpectAgreement(schema, values);
  }
}

// Work and depth must not grow faster than the text: each of these once crashed the process or took
// seconds.
TEST(JsonSchemaTest, LongTextsAreCompiledOrRefused) {
  const std::string name(60'000, 'n');
  CompiledConstraint compiled =
      Schema(R"({"properties": {")" + name + R"(": {}}, "additionalProperties": {}})");
  EXPECT_EQ(compiled.field(), "json_schema") << compiled.status();
  std::string names, required, references = R"("z": {"const": 1})";
  for (int i = 0; i < 900; ++i) {
    names += (i > 0 ? ",\"k" : "\"k") + std::to_string(i) + "\":{\"$ref\":\"#/$defs/z\"}";
    required += (i > 0 ? ",\"k" : "\"k") + std::to_string(i) + "\"";
  }
  const std::string wide = R"({"properties": {)" + names + R"(}, "required": [)" + required +
                           R"(], "$defs": {)" + references + "}}";
  EXPECT_TRUE(Schema(wide).status().ok()) << Schema(wide).status();
  std::string keys = "\"x\":0";
  for (int i = 0; i < 5000; ++i) keys += ",\"" + std::to_string(i) + "\":0";
  EXPECT_EQ(Schema(R"({"const": {)" + keys + "}}").field(), "json_schema") << "too many keys";
  // A chain of rules that refer to one another; the end of the chain comes first.
  std::string rules = R"("r0": {"type": "null"})";
  for (int i = 1; i < 1000; ++i) {
    rules +=
        ",\"r" + std::to_string(i) + "\":{\"$ref\":\"#/$defs/r" + std::to_string(i - 1) + "\"}";
  }
  std::string all;
  for (int i = 0; i < 1000; ++i) {
    all += (i > 0 ? ",{\"$ref\":\"#/$defs/r" : "{\"$ref\":\"#/$defs/r") + std::to_string(i) + "\"}";
  }
  EXPECT_TRUE(Schema(R"({"anyOf": [)" + all + R"(], "$defs": {)" + rules + "}}").Accepts("null"));
  EXPECT_EQ(Schema(R"({"$defs": {"a": {"type": 1}}, "anyOf": [{"$ref": "#/$defs/a"}]})").field(),
            "json_schema.$defs.a.type");
}

TEST(JsonSchemaTest, FieldsOfMessagesAreShort) {
  const std::string field =
      Schema(R"({"properties": {")" + std::string(10'000, 'n') + R"(": {"type": "text"}}})")
          .field();
  EXPECT_EQ(field, "json_schema.properties." + std::string(64, 'n') + "....type");
}

TEST(JsonSchemaTest, NestingMayBeDeep) {
  CompiledConstraint compiled = Schema("{}");
  EXPECT_TRUE(compiled.Accepts(std::string(500, '[') + std::string(500, ']')));
  EXPECT_FALSE(compiled.Accepts(std::string(500, '[') + std::string(499, ']')));
}

TEST(JsonSchemaTest, RefusesByNameWhatItCannotHonour) {
  const auto field = [](const std::string& schema) { return Schema(schema).field(); };
  EXPECT_EQ(field("{"), "json_schema");
  EXPECT_EQ(field("3"), "json_schema");
  EXPECT_EQ(field(R"({"type": "text"})"), "json_schema.type");
  EXPECT_EQ(field(R"({"type": "integer", "multipleOf": 0})"), "json_schema.multipleOf");
  EXPECT_EQ(field(R"({"type": "integer", "multipleOf": -2})"), "json_schema.multipleOf");
  EXPECT_EQ(field(R"({"type": "integer", "multipleOf": 12345678})"), "json_schema.multipleOf");
  EXPECT_EQ(field(R"({"not": {"type": "null"}})"), "json_schema.not");
  EXPECT_EQ(field(R"({"if": {}, "then": false})"), "json_schema.if");
  EXPECT_EQ(field(R"({"contains": {}})"), "json_schema.contains");
  EXPECT_EQ(field(R"({"unevaluatedProperties": false})"), "json_schema.unevaluatedProperties");
  EXPECT_EQ(field(R"({"allOf": [{"properties": {"a": {"dependentRequired": {}}}}]})"),
            "json_schema.allOf[0].properties.a.dependentRequired");
  EXPECT_EQ(field(R"({"oneOf": [{"type": "number"}, {"type": "integer"}]})"),
            "json_schema.oneOf[1]");
  EXPECT_EQ(field(R"({"type": "array", "uniqueItems": true})"), "json_schema.uniqueItems");
  EXPECT_EQ(field(R"({"type": "array", "items": {"type": "string"}, "uniqueItems": true})"),
            "json_schema.uniqueItems");
  EXPECT_EQ(
      field(R"({"type": "object", "properties": {"age": {"type": "integer", "minimum": "0"}}})"),
      "json_schema.properties.age.minimum");
  EXPECT_EQ(field(R"({"type": "object", "patternProperties": {"a": 1}})"),
            "json_schema.patternProperties.a");
  EXPECT_EQ(field(R"({"type": "object", "minProperties": 2})"), "json_schema.minProperties");
  EXPECT_EQ(field(R"({"type": "string", "pattern": "("})"), "json_schema.pattern");
  EXPECT_EQ(field(R"x({"type": "string", "pattern": "(a(?=b))*c"})x"), "json_schema.pattern");
  EXPECT_EQ(field(R"x({"type": "string", "pattern": "a(?=^b)"})x"), "json_schema.pattern");
  EXPECT_EQ(field(R"x({"type": "string", "pattern": "(?<=a)b"})x"), "json_schema.pattern");
  EXPECT_EQ(field(R"x({"type": "string", "pattern": "(a|b)*a(a|b){16}$", "maxLength": 900})x"),
            "json_schema.pattern");
  EXPECT_EQ(field(R"({"type": "string", "format": 3})"), "json_schema.format");
  EXPECT_EQ(field(R"({"type": "string", "minLength": -1})"), "json_schema.minLength");
  EXPECT_EQ(field(R"({"type": "string", "minLength": 10001})"), "json_schema.minLength");
  EXPECT_EQ(field(R"({"type": "array", "items": [1]})"), "json_schema.items[0]");
  EXPECT_EQ(field(R"({"anyOf": []})"), "json_schema.anyOf");
  EXPECT_EQ(field(R"({"enum": []})"), "json_schema.enum");
  EXPECT_EQ(field(R"({"enum": [{}], "properties": {"a": {}}})"), "json_schema.properties");
  EXPECT_EQ(field(R"({"$ref": "other.json"})"), "json_schema.$ref");
  EXPECT_EQ(field(R"({"$ref": "#/$defs/none"})"), "json_schema.$ref");
  EXPECT_EQ(field(R"({"$ref": "#none"})"), "json_schema.$ref");
  EXPECT_EQ(field(R"({"$ref": "#/%zz"})"), "json_schema.$ref");
  EXPECT_EQ(field(R"({"items": {"$id": "x.json"}})"), "json_schema.items.$id");
  EXPECT_EQ(field(R"({"type": "number", "minimum": 1e900})"), "json_schema.minimum");
  // References that lead back to themselves for the same value.
  EXPECT_EQ(field(R"({"$ref": "#"})"), "json_schema.$ref");
  EXPECT_EQ(field(R"({"anyOf": [{"$ref": "#"}, {"type": "null"}]})"), "json_schema.anyOf[0].$ref");
  EXPECT_EQ(field(R"({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"},
                      "b": {"$ref": "#/$defs/a"}}})"),
            "json_schema.$defs.a.$ref");
  // Schemas that admit no value.
  EXPECT_EQ(field("false"), "json_schema");
  EXPECT_EQ(field(R"({"not": {}})"), "json_schema");
  EXPECT_EQ(field(R"({"const": "a", "type": "integer"})"), "json_schema");
  EXPECT_EQ(field(R"({"type": "integer", "minimum": 2, "maximum": 1})"), "json_schema");
  EXPECT_EQ(field(R"({"type": "string", "minLength": 2, "maxLength": 1})"), "json_schema");
  EXPECT_EQ(field(R"({"type": "array", "items": false, "minItems": 1})"), "json_schema");
  EXPECT_EQ(field(R"({"type": "object", "properties": {"a": true}, "required": ["b"],
                      "additionalProperties": false})"),
            "json_schema.additionalProperties");
  EXPECT_EQ(field(R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})"),
            "json_schema");
}

TEST(JsonSchemaTest, NamesThePartThatNoValueSatisfies) {
  const auto message = [](const std::string& schema) {
    return std::string(Schema(schema).status().message());
  };
  EXPECT_EQ(
      message(R"({"properties": {"user": {"properties": {"name": {}, "age": {"type": "integer",
                        "minimum": 5, "maximum": 4}}, "required": ["age"]}}, "required": ["user"]})"),
      "json_schema.properties.user.properties.age: type \"integer\", minimum 5, maximum 4 "
      "together seen, expected what some value satisfies");
  EXPECT_EQ(message(R"({"type": "array", "minItems": 1, "items": {"type": []}})"),
            "json_schema.items.type: an empty list seen, expected one or more types");
  EXPECT_EQ(
      message(R"({"prefixItems": [{"type": "string", "const": 5}, {"enum": [1], "minimum": 2}],
                        "minItems": 2})"),
      "json_schema.prefixItems[0]: type \"string\", const 5 together seen, expected what some "
      "value satisfies");
  EXPECT_EQ(
      message(R"({"anyOf": [{"type": "string", "minLength": 3, "maxLength": 2}, false]})"),
      "json_schema.anyOf[0]: type \"string\", minLength 3, maxLength 2 together seen, expected "
      "what some value satisfies");
  EXPECT_EQ(message(R"({"anyOf": []})"),
            "json_schema.anyOf: an empty list seen, expected a list of one or more schemas");
  // What may be left out is no fault.
  EXPECT_EQ(message(R"({"properties": {"a": {"const": 5, "type": "string"}}})"), "");
}

}  // namespace
}  // namespace whipsnake::engine
