#include "engine/structured/json_schema.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/structured/exact_json.h"
#include "engine/structured/json_grammar.h"
#include "engine/structured/list_grammar.h"
#include "engine/structured/number_grammar.h"
#include "engine/structured/schema_document.h"
#include "engine/structured/schema_keywords.h"
#include "engine/structured/schema_overlap.h"
#include "engine/structured/schema_shape.h"
#include "engine/structured/schema_view.h"
#include "engine/structured/text_language.h"

namespace whipsnake::engine {
namespace {

// Compiles a schema by recursion, whose depth is limited. After the first error, everything returns
// at once.
class SchemaCompiler {
 public:
  SchemaCompiler(const ExactJson& root, std::string_view field, ExpressionPool& pool)
      : pool_(pool),
        json_(pool),
        document_(root, field),
        views_(document_, report_, pool),
        shapes_(views_, report_, pool),
        overlap_(views_, shapes_, report_, pool) {
    views_.set_exclusive_check(
        [this](const std::vector<SchemaView>& branches, const std::string& path) {
          overlap_.RequireExclusive(branches, path);
        });
  }

  // A value that satisfies all schemas, of which there is at least one.
  // NOLINTNEXTLINE(misc-no-recursion): at most kMaxDepth deep.
  Expression Compile(const LocatedSchemas& schemas) {
    if (schemas.empty()) return json_.value();
    return CompileView(views_.Make(schemas), schemas.front().path);
  }

  const SchemaReport& report() const { return report_; }
  // Why what was compiled last is kNothing.
  absl::Status why_nothing() const {
    return InvalidField(nothing_.path, nothing_.seen, "what some value satisfies");
  }

 private:
  static constexpr int kMaxDepth = 64;  // of schemas in schemas

  // The part of the schema that no value satisfies.
  struct Nothing {
    std::string path{};  // empty if it is not known
    std::string seen{};
  };

  bool stopped() const { return !report_.ok() || pool_.overflowed(); }

  // `path` is for messages about the whole.
  // NOLINTNEXTLINE(misc-no-recursion): at most kMaxDepth deep.
  Expression CompileView(const SchemaView& view, const std::string& path) {
    if (stopped()) return ExpressionPool::kNothing;
    if (view.impossible) {
      nothing_ = {path, "false for a value that must be there"};
      return ExpressionPool::kNothing;
    }
    // Only a reference can lead to the same view again, perhaps within itself.
    if (!view.has_reference) return CompileContent(view, path);
    const auto [known, is_new] = rules_.try_emplace(view.key(), ExpressionPool::kNothing);
    if (!is_new) return known->second;
    const Expression rule = known->second = pool_.NewRule();
    if (pool_.overflowed()) return ExpressionPool::kNothing;
    const Expression body = CompileContent(view, path);
    pool_.DefineRule(rule, body);
    return rule;
  }

  // NOLINTNEXTLINE(misc-no-recursion): at most kMaxDepth deep.
  Expression CompileContent(const SchemaView& view, const std::string& path) {
    if (depth_ >= kMaxDepth) {
      report_.Refuse(path, "schemas nested too deeply", absl::StrCat("at most ", kMaxDepth));
      return ExpressionPool::kNothing;
    }
    ++depth_;
    nothing_ = {};
    const Expression result = view.choices.empty() ? CompileTypes(view) : CompileChoice(view);
    --depth_;
    if (pool_.out_of_work()) report_.Refuse(OutOfGrammarWork(path));
    if (result == ExpressionPool::kNothing && nothing_.path.empty()) {
      nothing_ = {path, KeywordsOf(view)};
    }
    return result;
  }

  // The keywords of a view and their values, for a message.
  std::string KeywordsOf(const SchemaView& view) {
    constexpr size_t kMaxKeywords = 6;
    std::vector<std::string> keywords;
    for (const LocatedSchema& member : view.members) {
      const ExactJson& json = *member.schema;
      for (size_t i = 0; i < json.keys.size() && keywords.size() <= kMaxKeywords; ++i) {
        if (!IsAssertion(json.keys[i])) continue;
        const bool is_more = keywords.size() == kMaxKeywords;
        keywords.push_back(is_more ? "more"
                                   : absl::StrCat(json.keys[i], " ", Described(json.items[i])));
      }
    }
    return keywords.empty() ? "a schema that no value satisfies"
                            : absl::StrCat(absl::StrJoin(keywords, ", "), " together");
  }

  // NOLINTNEXTLINE(misc-no-recursion): at most kMaxDepth deep.
  Expression CompileChoice(const SchemaView& view) {
    const SchemaView::Choice& choice = view.choices.front();
    const std::vector<SchemaView> branches = views_.Branches(view);
    std::vector<Expression> alternatives;
    Nothing first;
    for (size_t i = 0; i < branches.size() && !stopped(); ++i) {
      alternatives.push_back(CompileView(branches[i], absl::StrCat(choice.path, "[", i, "]")));
      if (i == 0) first = nothing_;
    }
    nothing_ = first;
    return pool_.Choice(alternatives);
  }

  // NOLINTNEXTLINE(misc-no-recursion): at most kMaxDepth deep.
  Expression CompileTypes(const SchemaView& view) {
    if (const auto values = shapes_.ValuesOf(view)) return AnyOf(*values);
    const TypeSet types = shapes_.TypesOf(view);
    const bool has_types_only = std::ranges::all_of(view.members, [](const LocatedSchema& member) {
      return std::ranges::all_of(member.schema->keys,
                                 [](const std::string& key) { return TypesAbout(key) == 0; });
    });
    if (types == kAllTypes && has_types_only) return json_.value();
    std::vector<Expression> alternatives;
    if (types & kNullType) alternatives.push_back(pool_.Literal("null"));
    if (types & kBooleanType) {
      alternatives.push_back(pool_.Literal("true"));
      alternatives.push_back(pool_.Literal("false"));
    }
    if (types & kNumberTypes) alternatives.push_back(CompileNumber(view, types));
    if (types & kStringType) alternatives.push_back(CompileString(view));
    if (types & kArrayType) alternatives.push_back(CompileArray(shapes_.ArrayOf(view)));
    if (types & kObjectType) alternatives.push_back(CompileObject(shapes_.ObjectOf(view)));
    return pool_.Choice(alternatives);
  }

  Expression AnyOf(const std::vector<const ExactJson*>& values) {
    std::vector<std::string> texts;
    for (const ExactJson* value : values) texts.push_back(Dump(*value));
    return pool_.AnyLiteral({texts.begin(), texts.end()});
  }

  // --- Scalars -----------------------------------------------------------------------------------

  Expression CompileNumber(const SchemaView& view, TypeSet types) {
    const NumberRange range = shapes_.RangeOf(view);
    const auto number = (types & kNumberTypes) == kIntegerType ? IntegerGrammar(range, pool_)
                                                               : DecimalGrammar(range, pool_);
    if (number) return *number;
    if (stopped()) return ExpressionPool::kNothing;
    report_.Refuse(view.members.front().path + ".multipleOf",
                   "a multiple that needs too many states with its bounds",
                   "a smaller one, or bounds that are closer together");
    return ExpressionPool::kNothing;
  }

  Expression CompileString(const SchemaView& view) { return Text(shapes_.TextOf(view)); }

  Expression Text(const TextLanguage& language) {
    if (stopped()) return ExpressionPool::kNothing;
    const auto text = CompileText(language, json_, pool_);
    if (!text.ok()) report_.Refuse(text.status());
    return text.ok() ? *text : ExpressionPool::kNothing;
  }

  // --- Arrays ------------------------------------------------------------------------------------

  // NOLINTNEXTLINE(misc-no-recursion): at most kMaxDepth deep.
  Expression CompileArray(const ArrayShape& shape) {
    if (shape.max_count < shape.min_count) return ExpressionPool::kNothing;
    if (shape.unique && shape.max_count > 1) return CompileSet(shape);
    const Expression item = Compile(shape.rest);
    if (item == ExpressionPool::kNothing && shape.rest.front().schema->is_false()) nothing_ = {};
    if (!shape.prefix.empty()) return CompileTuple(shape, item);
    // If no item can be written, only the empty array is left.
    if (item == ExpressionPool::kNothing) {
      return shape.min_count > 0 ? item : pool_.Literal("[]");
    }
    return json_.Bracketed('[', item, shape.min_count, shape.max_count, ']');
  }

  // Builds the content from its end: `rest` is what may follow the first i items.
  // NOLINTNEXTLINE(misc-no-recursion): at most kMaxDepth deep.
  Expression CompileTuple(const ArrayShape& shape, Expression item) {
    const int64_t size = std::min<int64_t>(std::ssize(shape.prefix), shape.max_count);
    const int64_t left =
        shape.max_count == ExpressionPool::kUnbounded ? shape.max_count : shape.max_count - size;
    Expression rest = pool_.Repeat(pool_.Sequence(json_.Comma(), item),
                                   std::max<int64_t>(shape.min_count - size, 0), left);
    std::optional<Nothing> cause;
    if (shape.min_count > size && item == ExpressionPool::kNothing) cause = nothing_;
    for (int64_t i = size - 1; i >= 0; --i) {
      const Expression element = Compile(shape.prefix[i]);
      if (i < shape.min_count && element == ExpressionPool::kNothing) cause = nothing_;
      rest = pool_.Sequence({i == 0 ? ExpressionPool::kEmpty : json_.Comma(), element, rest});
      if (i >= shape.min_count) rest = pool_.Optional(rest);
    }
    nothing_ = cause.value_or(Nothing());
    return pool_.Sequence({pool_.Byte('['), rest, pool_.Byte(']')});
  }

  // An array of different items, of which there must be a known list.
  Expression CompileSet(const ArrayShape& shape) {
    std::map<std::string, size_t> known;
    std::vector<Expression> items;
    bool is_listed = shape.prefix.empty() && !shape.rest.empty();
    if (is_listed) {
      for (const SchemaView& view : views_.Expand(views_.Make(shape.rest), shape.unique_path)) {
        const auto values = FiniteValues(view);
        is_listed = is_listed && values.has_value();
        if (!values) break;
        for (const auto& [canonical, text] : *values) {
          if (known.try_emplace(canonical, items.size()).second) {
            items.push_back(pool_.Literal(text));
          }
        }
      }
    }
    if (!is_listed) {
      report_.Refuse(shape.unique_path, "true",
                     "false, or items that const, enum or boolean list: others cannot be compared");
      return ExpressionPool::kNothing;
    }
    return DistinctList(items, shape.min_count, shape.max_count, json_, pool_);
  }

  // The values of a view in their canonical form and as they are written, if it lists them.
  std::optional<std::vector<std::pair<std::string, std::string>>> FiniteValues(
      const SchemaView& view) {
    std::vector<std::pair<std::string, std::string>> texts;
    if (const auto values = shapes_.ValuesOf(view)) {
      for (const ExactJson* value : *values)
        texts.emplace_back(CanonicalText(*value), Dump(*value));
      return texts;
    }
    const TypeSet types = shapes_.TypesOf(view);
    if ((types & ~(kNullType | kBooleanType)) != 0) return std::nullopt;
    if (types & kNullType) texts.emplace_back("null", "null");
    if (types & kBooleanType) texts.insert(texts.end(), {{"true", "true"}, {"false", "false"}});
    return texts;
  }

  // --- Objects -----------------------------------------------------------------------------------

  // NOLINTNEXTLINE(misc-no-recursion): at most kMaxDepth deep.
  Expression CompileObject(const ObjectShape& shape) {
    if (stopped() || shape.impossible) return ExpressionPool::kNothing;
    std::vector<ListElement> members;
    std::optional<Nothing> cause;
    for (const ObjectShape::Property& property : shape.properties) {
      const ExactJson name{.kind = JsonKind::kString, .text = property.name};
      const Expression value = Compile(property.schemas);
      members.push_back({.text = pool_.Sequence({pool_.Literal(Dump(name)), json_.Colon(), value}),
                         .required = property.required});
      if (stopped()) return ExpressionPool::kNothing;
      if (value == ExpressionPool::kNothing && property.required && !cause) cause = nothing_;
    }
    std::vector<Expression> others;
    for (const ObjectShape::Others& other : shape.others) {
      const Expression value = Compile(other.schemas);
      if (value == ExpressionPool::kNothing) continue;
      others.push_back(pool_.Sequence({OtherName(other.names), json_.Colon(), value}));
    }
    const Expression other = pool_.Choice(others);
    if (other != ExpressionPool::kNothing && shape.min_count > std::ssize(members) + 1) {
      report_.Refuse(shape.min_path, absl::StrCat(shape.min_count),
                     absl::StrCat("at most ", members.size() + 1,
                                  ", one more than the properties with known names: others may "
                                  "have the same name twice"));
    }
    nothing_ = cause.value_or(Nothing());
    return OrderedList('{', members, other, shape.min_count, shape.max_count, '}', json_, pool_);
  }

  // A name that is none of the properties'.
  Expression OtherName(const TextLanguage& names) {
    if (!names.patterns.empty() || names.has_length()) return Text(names);
    std::vector<std::u32string> excluded;
    for (const std::string& text : names.excluded) {
      std::u32string& name = excluded.emplace_back();
      for (size_t at = 0; at < text.size();) name += NextCodePoint(text, &at);
    }
    return json_.KeyExcept(std::move(excluded));
  }

  ExpressionPool& pool_;
  JsonGrammar json_;
  SchemaReport report_;
  SchemaDocument document_;
  SchemaViews views_;
  SchemaShapes shapes_;
  SchemaOverlap overlap_;
  std::map<SchemaView::Key, Expression> rules_;
  int depth_ = 0;
  Nothing nothing_;  // of the last part that was compiled
};

}  // namespace

absl::StatusOr<CompiledSchema> CompileJsonSchema(std::string_view text, std::string_view field,
                                                 ExpressionPool& pool) {
  ExactJson schema = ExactJson::Boolean(true);
  if (!text.empty()) {
    ASSIGN_OR_RETURN(schema, ExactJson::Parse(text, field));
  }
  if (!schema.is(JsonKind::kObject) && !schema.is(JsonKind::kBoolean)) {
    return InvalidField(field, Described(schema), "a JSON schema, or nothing for any value");
  }
  SchemaCompiler compiler(schema, field, pool);
  CompiledSchema compiled{.root = compiler.Compile({{&schema, std::string(field)}})};
  if (!compiler.report().ok()) return compiler.report().status();
  if (pool.out_of_work()) return OutOfGrammarWork(field);
  if (compiled.root == ExpressionPool::kNothing && !pool.overflowed()) {
    return compiler.why_nothing();
  }
  compiled.warnings = compiler.report().warnings();
  return compiled;
}

}  // namespace whipsnake::engine
