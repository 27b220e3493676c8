#include "engine/structured/json_schema.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
#include "engine/base/json.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/structured/code_points.h"
#include "engine/structured/number_grammar.h"
#include "engine/structured/regex_grammar.h"

namespace whipsnake::engine {
namespace {

// Keeps keys in the order of the text, which is also the order of properties.
using Json = nlohmann::ordered_json;

constexpr int kMaxSchemaDepth = 64;  // nesting depth of schemas
// Limited because looking up a key in an ordered object is a linear search.
constexpr int kMaxKeys = 1024;

// Shortens a key for a field's path: paths are repeated in messages, and keys may be long.
std::string PathKey(std::string_view key) {
  constexpr int64_t kMaxBytes = 67;  // with the "..." of a key that is cut
  return BoundedUtf8(key, kMaxBytes);
}

// Keywords that do not restrict the value.
constexpr std::array<std::string_view, 13> kAnnotations = {
    "title", "description", "default", "examples",   "$schema",  "$id",      "$comment",
    "$defs", "definitions", "$anchor", "deprecated", "readOnly", "writeOnly"};

// The grammar of JSON strings, numbers without bounds, and values of any kind.
class JsonGrammar {
 public:
  explicit JsonGrammar(ExpressionPool& pool) : pool_(pool) {
    any_character_ = Character(CodePointSet::All());
    plain_character_ = Utf8(Plain(), &pool_);
    value_ = pool_.NewRule();
    const Expression member = pool_.Sequence(
        {Quoted(pool_.Repeat(any_character_, 0, ExpressionPool::kUnbounded)), Colon(), value_});
    pool_.DefineRule(
        value_, pool_.Choice({pool_.Literal("null"), pool_.Literal("true"), pool_.Literal("false"),
                              DecimalGrammar({}, pool_), String(0, ExpressionPool::kUnbounded),
                              Bracketed('[', value_, 0, ExpressionPool::kUnbounded, ']'),
                              Bracketed('{', member, 0, ExpressionPool::kUnbounded, '}')}));
  }

  Expression value() const { return value_; }

  // One character of the set as written in a string. If the set is all of Unicode, any escape is
  // allowed; otherwise each character has only its usual form.
  Expression Character(const CodePointSet& set) {
    std::vector<Expression> forms = {Utf8(set.Intersection(Plain()), &pool_)};
    constexpr std::string_view kLetters = "\"\\bfnrt", kMeant = "\"\\\b\f\n\r\t";
    ByteSet letters;
    for (size_t i = 0; i < kLetters.size(); ++i) {
      if (set.Contains(static_cast<unsigned char>(kMeant[i]))) letters.Add(kLetters[i]);
    }
    const bool all = set.ranges() == CodePointSet::All().ranges();
    if (all) letters.Add('/');
    forms.push_back(pool_.Sequence(pool_.Byte('\\'), pool_.Bytes(letters)));
    if (all) {
      forms.push_back(pool_.Sequence(pool_.Literal("\\u"), AnyUnicodeEscape()));
    } else {
      for (int control = 0; control < 0x20; ++control) {
        if (!set.Contains(control) || kMeant.find(static_cast<char>(control)) != kMeant.npos)
          continue;
        constexpr std::string_view kHex = "0123456789abcdef";
        const std::string text = {'\\', 'u', '0', '0', kHex[control / 16], kHex[control % 16]};
        forms.push_back(pool_.Literal(text));
      }
    }
    return pool_.Choice(forms);
  }

  Expression Quoted(Expression content) {
    return pool_.Sequence({pool_.Byte('"'), content, pool_.Byte('"')});
  }
  Expression String(int64_t least, int64_t most) {
    return Quoted(pool_.Repeat(any_character_, least, most));
  }

  Expression Colon() { return pool_.Sequence(pool_.Byte(':'), Space()); }
  Expression Comma() { return pool_.Sequence(pool_.Byte(','), Space()); }

  // From `least` to `most` elements between brackets.
  Expression Bracketed(char open, Expression element, int64_t least, int64_t most, char close) {
    Expression content = ExpressionPool::kEmpty;
    if (most > 0) {
      const int64_t more = most == ExpressionPool::kUnbounded ? most : most - 1;
      content = pool_.Sequence(element, pool_.Repeat(pool_.Sequence(Comma(), element),
                                                     std::max<int64_t>(least - 1, 0), more));
      if (least == 0) content = pool_.Optional(content);
    }
    return pool_.Sequence({pool_.Byte(open), content, pool_.Byte(close)});
  }

  // A key that is not in `taken`. It has no escapes, because they could spell one of those.
  Expression KeyBut(std::vector<std::u32string> taken) { return Quoted(TextBut(std::move(taken))); }

 private:
  // Characters that need no escape.
  static CodePointSet Plain() {
    return CodePointSet({{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, kLastCodePoint}});
  }

  Expression Space() { return pool_.Optional(pool_.Byte(' ')); }

  // What follows "\u": a character of one UTF-16 unit, or a surrogate pair.
  Expression AnyUnicodeEscape() {
    const auto hex = [&](std::string_view digits) { return pool_.Bytes(ByteSet::Of(digits)); };
    const Expression any = hex("0123456789abcdefABCDEF");
    const Expression single =
        pool_.Choice({pool_.Sequence(hex("0123456789abcefABCEF"), pool_.Repeat(any, 3, 3)),
                      pool_.Sequence({hex("dD"), hex("01234567"), any, any})});
    const Expression pair =
        pool_.Sequence({hex("dD"), hex("89abAB"), any, any, pool_.Literal("\\u"), hex("dD"),
                        hex("cdefCDEF"), any, any});
    return pool_.Choice({single, pair});
  }

  // The texts that are not in `taken`. Builds the trie of the sorted ones from its leaves: `open`
  // is the path to the last one, and the node at depth d has what may follow its first d
  // characters.
  Expression TextBut(std::vector<std::u32string> taken) {
    struct Node {
      bool is_taken = false;
      std::vector<CodePointRange> characters;  // that continue one of `taken`
      std::vector<Expression> forms;           // of texts that continue with one of them
    };
    const Expression any = pool_.Repeat(plain_character_, 0, ExpressionPool::kUnbounded);
    std::map<CodePointSet, Expression> encoded;  // the same few sets occur again and again
    const auto encode = [&](const CodePointSet& set) {
      const auto [place, is_new] = encoded.try_emplace(set, ExpressionPool::kNothing);
      if (is_new) place->second = Utf8(set, &pool_);
      return place->second;
    };
    const CodePointSet plain = Plain();
    const auto written = [&](Node& node) {
      const CodePointSet free = plain.Minus(CodePointSet(std::move(node.characters)));
      if (!node.is_taken) node.forms.push_back(ExpressionPool::kEmpty);
      node.forms.push_back(pool_.Sequence(encode(free), any));
      return pool_.Choice(node.forms);
    };
    std::vector<Node> open(1);
    std::u32string_view last;
    const auto close_to = [&](size_t depth) {
      while (open.size() > depth + 1 && !pool_.overflowed()) {
        const Expression rest = written(open.back());
        open.pop_back();
        const char32_t character = last[open.size() - 1];
        open.back().characters.push_back({character, character});
        if (!plain.Contains(character)) continue;  // it cannot be written without an escape
        const CodePointSet one({{character, character}});
        open.back().forms.push_back(pool_.Sequence(encode(one), rest));
      }
    };
    std::sort(taken.begin(), taken.end());
    for (const std::u32string& text : taken) {
      const auto differs = std::mismatch(last.begin(), last.end(), text.begin(), text.end()).first;
      close_to(differs - last.begin());
      if (pool_.overflowed()) return ExpressionPool::kNothing;
      last = text;
      open.resize(text.size() + 1);
      open.back().is_taken = true;
    }
    close_to(0);
    return written(open.front());
  }

  ExpressionPool& pool_;
  Expression any_character_ = 0;
  Expression plain_character_ = 0;
  Expression value_ = 0;
};

// Compiles a schema by recursion, whose depth Compile limits. After the first error, everything
// returns at once.
class SchemaCompiler {
 public:
  SchemaCompiler(const Json& root, ExpressionPool& pool) : root_(root), pool_(pool), json_(pool) {}

  // NOLINTNEXTLINE(misc-no-recursion): at most kMaxSchemaDepth deep.
  Expression Compile(const Json& schema, const std::string& path) {
    if (!status_.ok() || pool_.overflowed()) return ExpressionPool::kNothing;
    if (depth_ >= kMaxSchemaDepth) {
      Refuse(path, "schemas nested too deeply",
             absl::StrCat("at most ", kMaxSchemaDepth, " levels"));
      return ExpressionPool::kNothing;
    }
    ++depth_;
    const Expression result = CompileChecked(schema, path);
    --depth_;
    return result;
  }

  const absl::Status& status() const { return status_; }

 private:
  void Refuse(const std::string& path, std::string_view seen, std::string_view expected) {
    if (status_.ok()) status_ = InvalidField(path, seen, expected);
  }

  // Refuses a key of `schema` that is neither in `keys` nor an annotation.
  void Allow(const Json& schema, const std::string& path,
             std::initializer_list<std::string_view> keys) {
    for (const auto& [key, value] : schema.items()) {
      if (std::ranges::count(kAnnotations, key) + std::ranges::count(keys, key) > 0) continue;
      if (key == "uniqueItems" && value == false) continue;
      std::string known;
      for (const std::string_view name : keys) absl::StrAppend(&known, " ", ToAbsl(name));
      Refuse(absl::StrCat(path, ".", PathKey(key)), "a keyword that is not supported here",
             absl::StrCat("besides annotations only:", known));
    }
  }

  // NOLINTNEXTLINE(misc-no-recursion): Compile limits the depth.
  Expression CompileChecked(const Json& schema, const std::string& path) {
    if (schema.is_boolean()) {
      return schema.get<bool>() ? json_.value() : ExpressionPool::kNothing;
    }
    if (!schema.is_object()) {
      Refuse(path, Described(schema), "a schema: an object, true or false");
      return ExpressionPool::kNothing;
    }
    if (schema.contains("$ref")) return Reference(schema, path);
    if (schema.contains("const")) {
      Allow(schema, path, {"const", "type"});
      return Constant(schema["const"]);
    }
    if (schema.contains("enum")) return Enumeration(schema, path);
    if (schema.contains("anyOf")) return AnyOf(schema, path);
    return Typed(schema, path);
  }

  // --- References, constants and choices ---------------------------------------------------------

  // NOLINTNEXTLINE(misc-no-recursion): Compile limits the depth.
  Expression Reference(const Json& schema, const std::string& path) {
    Allow(schema, path, {"$ref"});
    const std::string where = path + ".$ref";
    if (!schema["$ref"].is_string()) {
      Refuse(where, Described(schema["$ref"]), "a text such as \"#/$defs/name\"");
      return ExpressionPool::kNothing;
    }
    const std::string name = schema["$ref"].get<std::string>();
    const Json* target = Find(name);
    if (target == nullptr) {
      Refuse(where, engine::Quoted(name), "\"#\" or \"#/...\", the place of a schema in this one");
      return ExpressionPool::kNothing;
    }
    // Keyed by the target, which may be spelled in several ways: each target is compiled once.
    const auto [known, is_new] = rules_.try_emplace(target, ExpressionPool::kNothing);
    if (!is_new) return known->second;
    const Expression rule = known->second = pool_.NewRule();
    if (pool_.overflowed()) return ExpressionPool::kNothing;
    std::string place = name.substr(1);
    std::ranges::replace(place, '/', '.');
    const Expression body = Compile(*target, "json_schema" + PathKey(place));
    pool_.DefineRule(rule, body);
    return rule;
  }

  // Returns the value that a JSON pointer refers to, or null.
  const Json* Find(std::string_view reference) const {
    if (reference == "#") return &root_;
    if (!reference.starts_with("#/")) return nullptr;
    const Json* at = &root_;
    for (std::string_view rest = reference.substr(1); !rest.empty();) {
      rest.remove_prefix(1);
      const size_t end = std::min(rest.find('/'), rest.size());
      const std::string key =
          absl::StrReplaceAll(ToAbsl(rest.substr(0, end)), {{"~1", "/"}, {"~0", "~"}});
      rest.remove_prefix(end);
      if (at->is_object() && at->contains(key)) {
        at = &(*at)[key];
      } else if (at->is_array() && !key.empty() && key.size() < 6 &&
                 key.find_first_not_of("0123456789") == key.npos && std::stoul(key) < at->size()) {
        at = &(*at)[std::stoul(key)];
      } else {
        return nullptr;
      }
    }
    return at;
  }

  // NOLINTNEXTLINE(misc-no-recursion): Compile limits the depth.
  Expression AnyOf(const Json& schema, const std::string& path) {
    Allow(schema, path, {"anyOf"});
    const Json& list = schema["anyOf"];
    if (!list.is_array() || list.empty()) {
      Refuse(path + ".anyOf", Described(list), "a list of schemas");
      return ExpressionPool::kNothing;
    }
    std::vector<Expression> forms;
    for (size_t i = 0; i < list.size(); ++i) {
      forms.push_back(Compile(list[i], absl::StrCat(path, ".anyOf[", i, "]")));
    }
    return pool_.Choice(forms);
  }

  Expression Constant(const Json& value) {
    return pool_.Literal(value.dump(-1, ' ', false, Json::error_handler_t::replace));
  }

  Expression Enumeration(const Json& schema, const std::string& path) {
    Allow(schema, path, {"enum", "type"});
    const Json& list = schema["enum"];
    if (!list.is_array() || list.empty()) {
      Refuse(path + ".enum", Described(list), "a list of values");
      return ExpressionPool::kNothing;
    }
    const std::set<std::string> types = Types(schema, path);
    std::vector<std::string> texts;
    for (const Json& value : list) {
      if (HasType(value, types)) texts.push_back(value.dump());
    }
    return pool_.AnyLiteral({texts.begin(), texts.end()});
  }

  // --- Types -------------------------------------------------------------------------------------

  static const std::set<std::string>& AllTypes() {
    static const auto& types = *new std::set<std::string>{"object", "array",   "string", "integer",
                                                          "number", "boolean", "null"};
    return types;
  }

  static bool HasType(const Json& value, const std::set<std::string>& types) {
    const bool whole = value.is_number() && value.get<double>() == std::floor(value.get<double>());
    return (value.is_object() && types.contains("object")) ||
           (value.is_array() && types.contains("array")) ||
           (value.is_string() && types.contains("string")) ||
           (value.is_number() && types.contains("number")) ||
           (whole && types.contains("integer")) ||
           (value.is_boolean() && types.contains("boolean")) ||
           (value.is_null() && types.contains("null"));
  }

  // Returns the types that the schema names, or all types if it names none.
  std::set<std::string> Types(const Json& schema, const std::string& path) {
    if (!schema.contains("type")) return AllTypes();
    const Json& type = schema["type"];
    std::set<std::string> types;
    for (const Json& name : type.is_array() ? type : Json::array({type})) {
      if (name.is_string() && AllTypes().contains(name.get<std::string>())) {
        types.insert(name.get<std::string>());
      } else {
        Refuse(path + ".type", Described(name),
               "object, array, string, integer, number, boolean or null, or a list of them");
      }
    }
    return types;
  }

  // NOLINTNEXTLINE(misc-no-recursion): Compile limits the depth.
  Expression Typed(const Json& schema, const std::string& path) {
    std::set<std::string> types = Types(schema, path);
    if (!schema.contains("type")) types = ImpliedTypes(schema);
    if (types == AllTypes()) {
      Allow(schema, path, {"type", "$ref", "const", "enum", "anyOf"});
      return json_.value();
    }
    std::vector<Expression> forms;
    for (const std::string& type : types) forms.push_back(OfType(type, schema, path));
    if (types.size() == 1) return forms.front();
    // Each type has refused the keywords that it does not know. With several types, it is not clear
    // which one a keyword belongs to, so none is allowed.
    Allow(schema, path, {"type"});
    return pool_.Choice(forms);
  }

  // Infers the type from keywords that only one type has.
  static std::set<std::string> ImpliedTypes(const Json& schema) {
    for (const char* key : {"properties", "required", "additionalProperties"}) {
      if (schema.contains(key)) return {"object"};
    }
    for (const char* key : {"items", "prefixItems", "minItems", "maxItems"}) {
      if (schema.contains(key)) return {"array"};
    }
    for (const char* key : {"minLength", "maxLength", "pattern", "format"}) {
      if (schema.contains(key)) return {"string"};
    }
    for (const char* key : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}) {
      if (schema.contains(key)) return {"number"};
    }
    return AllTypes();
  }

  // NOLINTNEXTLINE(misc-no-recursion): Compile limits the depth.
  Expression OfType(const std::string& type, const Json& schema, const std::string& path) {
    if (type == "object") return Object(schema, path);
    if (type == "array") return Array(schema, path);
    if (type == "string") return String(schema, path);
    if (type == "integer" || type == "number") return Number(type == "integer", schema, path);
    Allow(schema, path, {"type"});
    if (type == "null") return pool_.Literal("null");
    return pool_.Choice({pool_.Literal("true"), pool_.Literal("false")});
  }

  // Returns the count under `key`, or `otherwise` if it is absent.
  int64_t Count(const Json& schema, const char* key, int64_t otherwise, const std::string& path) {
    if (!schema.contains(key)) return otherwise;
    const Json& value = schema[key];
    const bool is_whole =
        value.is_number_integer() ||
        (value.is_number_float() && value.get<double>() == std::floor(value.get<double>()));
    const double number = is_whole ? value.get<double>() : -1;
    if (number >= 0 && number <= kMaxRepetitions) return static_cast<int64_t>(number);
    Refuse(absl::StrCat(path, ".", key), Described(value),
           absl::StrCat("an integer from 0 to ", kMaxRepetitions));
    return otherwise;
  }

  Expression String(const Json& schema, const std::string& path) {
    Allow(schema, path, {"type", "minLength", "maxLength", "pattern", "format"});
    const bool has_length = schema.contains("minLength") || schema.contains("maxLength");
    const bool has_pattern = schema.contains("pattern"), has_format = schema.contains("format");
    if (has_length + has_pattern + has_format > 1) {
      Refuse(path + (has_pattern ? ".pattern" : ".format"), "it beside another bound of the text",
             "lengths, a pattern or a format: put the length into the pattern");
    }
    if (has_pattern) return Pattern(schema["pattern"], path + ".pattern");
    if (has_format) return Format(schema["format"], path + ".format");
    const int64_t least = Count(schema, "minLength", 0, path);
    const int64_t most = Count(schema, "maxLength", ExpressionPool::kUnbounded, path);
    return most < least ? ExpressionPool::kNothing : json_.String(least, most);
  }

  Expression Pattern(const Json& pattern, const std::string& path) {
    if (!pattern.is_string()) {
      Refuse(path, Described(pattern), "a regular expression");
      return ExpressionPool::kNothing;
    }
    const auto encode = [this](const CodePointSet& set) { return json_.Character(set); };
    const auto content = CompilePattern(pattern.get<std::string>(), path, encode, pool_);
    if (!content.ok()) {
      if (status_.ok()) status_ = content.status();
      return ExpressionPool::kNothing;
    }
    return json_.Quoted(*content);
  }

  Expression Format(const Json& format, const std::string& path) {
    constexpr std::string_view kDate =
        "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|"
        "02-(0[1-9]|1[0-9]|2[0-8])))";
    constexpr std::string_view kTime =
        "(([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5]["
        "0-9]))";
    const std::map<std::string, std::string> patterns = {
        {"date", absl::StrCat("^", ToAbsl(kDate), "$")},
        {"time", absl::StrCat("^", ToAbsl(kTime), "$")},
        {"date-time", absl::StrCat("^", ToAbsl(kDate), "T", ToAbsl(kTime), "$")},
        {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"}};
    const auto found =
        format.is_string() ? patterns.find(format.get<std::string>()) : patterns.end();
    if (found != patterns.end()) return Pattern(found->second, path);
    Refuse(path, Described(format), "date, time, date-time or uuid");
    return ExpressionPool::kNothing;
  }

  // Reads a bound from one of two keywords. If both are present, refuses the exclusive one.
  void Bound(const Json& schema, const char* inclusive, const char* exclusive,
             std::optional<Decimal>& bound, bool& excluded, const std::string& path) {
    for (const char* key : {inclusive, exclusive}) {
      if (!schema.contains(key)) continue;
      const Json& value = schema[key];
      const double number = value.is_number() ? value.get<double>() : NAN;
      const double size = std::abs(number);
      if (!(number == 0 || (size >= 1e-12 && size < 1e30)) || bound) {
        Refuse(absl::StrCat(path, ".", key), Described(value),
               absl::StrCat("a number of a size from 1e-12 to 1e30, ", inclusive, " or ", exclusive,
                            " alone"));
        return;
      }
      bound = Decimal::Of(number);
      excluded = key == exclusive;
    }
  }

  Expression Number(bool integer, const Json& schema, const std::string& path) {
    Allow(schema, path, {"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"});
    NumberRange range;
    Bound(schema, "minimum", "exclusiveMinimum", range.least, range.least_excluded, path);
    Bound(schema, "maximum", "exclusiveMaximum", range.most, range.most_excluded, path);
    return integer ? IntegerGrammar(range, pool_) : DecimalGrammar(range, pool_);
  }

  // NOLINTNEXTLINE(misc-no-recursion): Compile limits the depth.
  Expression Array(const Json& schema, const std::string& path) {
    Allow(schema, path, {"type", "items", "prefixItems", "minItems", "maxItems"});
    const int64_t least = Count(schema, "minItems", 0, path);
    const int64_t most = Count(schema, "maxItems", ExpressionPool::kUnbounded, path);
    if (most < least) return ExpressionPool::kNothing;
    const Expression item =
        schema.contains("items") ? Compile(schema["items"], path + ".items") : json_.value();
    const Json none = Json::array();
    const Json& prefix = schema.contains("prefixItems") ? schema["prefixItems"] : none;
    if (!prefix.is_array()) {
      Refuse(path + ".prefixItems", Described(prefix), "a list of schemas");
      return ExpressionPool::kNothing;
    }
    if (prefix.empty()) {
      // If no item can be written, only the empty array is left.
      if (item == ExpressionPool::kNothing) return least > 0 ? item : pool_.Literal("[]");
      return json_.Bracketed('[', item, least, most, ']');
    }
    return Tuple(prefix, item, least, most, path);
  }

  // Builds the content from its end: `rest` is what may follow the first i items.
  // NOLINTNEXTLINE(misc-no-recursion): Compile limits the depth.
  Expression Tuple(const Json& prefix, Expression item, int64_t least, int64_t most,
                   const std::string& path) {
    const int64_t size = std::min<int64_t>(std::ssize(prefix), most);
    const int64_t left = most == ExpressionPool::kUnbounded ? most : most - size;
    Expression rest =
        pool_.Repeat(pool_.Sequence(json_.Comma(), item), std::max<int64_t>(least - size, 0), left);
    for (int64_t i = size - 1; i >= 0; --i) {
      const Expression element = Compile(prefix[i], absl::StrCat(path, ".prefixItems[", i, "]"));
      rest = pool_.Sequence({i == 0 ? ExpressionPool::kEmpty : json_.Comma(), element, rest});
      if (i >= least) rest = pool_.Optional(rest);
    }
    return pool_.Sequence({pool_.Byte('['), rest, pool_.Byte(']')});
  }

  // NOLINTNEXTLINE(misc-no-recursion): Compile limits the depth.
  Expression Object(const Json& schema, const std::string& path) {
    Allow(schema, path, {"type", "properties", "required", "additionalProperties"});
    const Json none = Json::object();
    const Json& properties = schema.contains("properties") ? schema["properties"] : none;
    if (!properties.is_object()) {
      Refuse(path + ".properties", Described(properties), "an object of schemas");
      return ExpressionPool::kNothing;
    }
    const std::set<std::string> required = Required(schema, properties, path);
    const Expression other = OtherMember(schema, properties, path);
    // Built from the end: what may follow if a member came before, and if none did.
    Expression others =
        pool_.Repeat(pool_.Sequence(json_.Comma(), other), 0, ExpressionPool::kUnbounded);
    if (other == ExpressionPool::kNothing) others = ExpressionPool::kEmpty;
    Expression after_one = others;
    Expression after_none = pool_.Optional(pool_.Sequence(other, others));
    for (auto property = properties.rbegin(); property != properties.rend(); ++property) {
      const Expression member = pool_.Sequence(
          {Constant(property.key()), json_.Colon(),
           Compile(property.value(), absl::StrCat(path, ".properties.", PathKey(property.key())))});
      const Expression first = pool_.Sequence(member, after_one);
      const Expression next = pool_.Sequence({json_.Comma(), member, after_one});
      const bool must = required.contains(property.key());
      after_none = must ? first : pool_.Choice({first, after_none});
      after_one = must ? next : pool_.Choice({next, after_one});
    }
    return pool_.Sequence({pool_.Byte('{'), after_none, pool_.Byte('}')});
  }

  std::set<std::string> Required(const Json& schema, const Json& properties,
                                 const std::string& path) {
    std::set<std::string> names;
    if (!schema.contains("required")) return names;
    const std::string where = path + ".required";
    if (!schema["required"].is_array()) {
      Refuse(where, Described(schema["required"]), "a list of names");
      return names;
    }
    std::set<std::string> known;
    for (const auto& [key, unused] : properties.items()) known.insert(key);
    for (const Json& name : schema["required"]) {
      if (!name.is_string() || !known.contains(name.get<std::string>())) {
        Refuse(where, Described(name), "names that are in properties");
        return names;
      }
      names.insert(name.get<std::string>());
    }
    return names;
  }

  // A member that is not in `properties`; kNothing if there may be none.
  // NOLINTNEXTLINE(misc-no-recursion): Compile limits the depth.
  Expression OtherMember(const Json& schema, const Json& properties, const std::string& path) {
    const bool closed = !properties.empty() && !schema.contains("additionalProperties");
    if (closed) return ExpressionPool::kNothing;
    const Expression value =
        schema.contains("additionalProperties")
            ? Compile(schema["additionalProperties"], path + ".additionalProperties")
            : json_.value();
    if (value == ExpressionPool::kNothing) return value;
    std::vector<std::u32string> taken;
    for (const auto& [key, unused] : properties.items()) {
      std::u32string& name = taken.emplace_back();
      for (size_t at = 0; at < key.size();) name += NextCodePoint(key, &at);
    }
    return pool_.Sequence({json_.KeyBut(std::move(taken)), json_.Colon(), value});
  }

  const Json& root_;
  ExpressionPool& pool_;
  JsonGrammar json_;
  std::map<const Json*, Expression> rules_;  // by the target of the reference
  int depth_ = 0;
  absl::Status status_;
};

// Parses a JSON document and keeps the order of its keys. Returns INVALID_ARGUMENT with the field
// if it is malformed, is not an object, or has an object of more than kMaxKeys keys.
absl::StatusOr<Json> ParseOrdered(std::string_view text, std::string_view field) {
  if (const std::string fault = FindJsonFault(text); !fault.empty()) {
    return InvalidField(field, fault, "a JSON schema, or nothing for any value");
  }
  std::vector<int> keys;  // the number of keys so far in each enclosing object
  bool too_many = false;
  const auto count = [&](int, Json::parse_event_t event, Json&) {
    if (event == Json::parse_event_t::object_start) keys.push_back(0);
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && ++keys.back() > kMaxKeys) too_many = true;
    return !too_many;  // false drops the value
  };
  Json document = Json::parse(text, count, /*allow_exceptions=*/false);
  if (too_many) {
    return InvalidField(field, absl::StrCat("an object of more than ", kMaxKeys, " keys"),
                        absl::StrCat("at most ", kMaxKeys));
  }
  if (!document.is_object()) {
    return InvalidField(field, Described(document), "a JSON schema, or nothing for any value");
  }
  return document;
}

}  // namespace

absl::StatusOr<Expression> CompileJsonSchema(std::string_view text, std::string_view field,
                                             ExpressionPool& pool) {
  Json schema = Json::object();
  if (text == "true" || text == "false") {
    schema = text == "true";
  } else if (!text.empty()) {
    ASSIGN_OR_RETURN(schema, ParseOrdered(text, field));
  }
  SchemaCompiler compiler(schema, pool);
  const Expression root = compiler.Compile(schema, std::string(field));
  if (!compiler.status().ok()) return compiler.status();
  return root;
}

}  // namespace whipsnake::engine
