// Reads the keywords of objects: SchemaShapes::ObjectOf.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "engine/base/status.h"
#include "engine/structured/schema_shape.h"

namespace whipsnake::engine {
namespace {

// Each set of patterns that a name may match has schemas of its own.
constexpr size_t kMaxNamePatterns = 4;

}  // namespace

class ObjectReader {
 public:
  ObjectReader(SchemaShapes& shapes, const SchemaView& view) : shapes_(shapes), view_(view) {
    for (const LocatedSchema& member : view.members) ReadMember(member);
  }

  ObjectShape Read() {
    NameProperties();
    AddNamesOfPropertyNames();
    FillProperties();
    AddOthers();
    return std::move(shape_);
  }

 private:
  // The keywords of one member of the view.
  struct Member {
    const LocatedSchema* schema;
    absl::flat_hash_map<std::string_view, const ExactJson*> properties{};
    // By the index of their patterns in patterns_.
    std::vector<std::pair<size_t, LocatedSchema>> pattern_schemas{};
    const ExactJson* additional = nullptr;
  };

  SchemaReport& report() { return shapes_.report_; }
  ExpressionPool& pool() { return shapes_.pool_; }

  const ExactJson* ReadObject(const LocatedSchema& schema, const char* key) {
    const ExactJson* object = schema.schema->Find(key);
    if (object == nullptr || object->is(JsonKind::kObject)) return object;
    report().Refuse(absl::StrCat(schema.path, ".", key), Described(*object),
                    "an object of schemas");
    return nullptr;
  }

  void ReadMember(const LocatedSchema& schema) {
    Member& member = members_.emplace_back(Member{.schema = &schema});
    shape_.min_count = std::max(shape_.min_count, shapes_.ReadCount(schema, "minProperties", 0));
    if (schema.schema->Find("minProperties")) shape_.min_path = schema.path + ".minProperties";
    shape_.max_count = std::min(
        shape_.max_count, shapes_.ReadCount(schema, "maxProperties", ExpressionPool::kUnbounded));
    if (const ExactJson* properties = ReadObject(schema, "properties")) {
      has_names_ = has_names_ || !properties->empty();
      for (size_t i = 0; i < properties->keys.size(); ++i) {
        member.properties.emplace(properties->keys[i], &properties->items[i]);
        AddName(properties->keys[i]);
      }
    }
    if (const ExactJson* patterns = ReadObject(schema, "patternProperties")) {
      has_names_ = has_names_ || !patterns->empty();
      for (size_t i = 0; i < patterns->keys.size(); ++i) {
        const std::string path =
            absl::StrCat(schema.path, ".patternProperties.", PathKey(patterns->keys[i]));
        member.pattern_schemas.emplace_back(PatternIndex(patterns->keys[i], path),
                                            LocatedSchema{&patterns->items[i], path});
      }
    }
    if (const ExactJson* names = schema.schema->Find("propertyNames")) {
      name_schemas_.push_back({names, schema.path + ".propertyNames"});
    }
    member.additional = schema.schema->Find("additionalProperties");
    has_additional_ = has_additional_ || member.additional != nullptr;
    ReadRequired(schema);
  }

  size_t PatternIndex(const std::string& regex, const std::string& path) {
    for (size_t i = 0; i < patterns_.size(); ++i) {
      if (patterns_[i].regex == regex) return i;
    }
    patterns_.push_back({.regex = regex, .field = path});
    if (patterns_.size() > kMaxNamePatterns) {
      report().Refuse(path, "too many patterns of names",
                      absl::StrCat("at most ", kMaxNamePatterns, " for an object"));
    }
    return patterns_.size() - 1;
  }

  void ReadRequired(const LocatedSchema& schema) {
    const ExactJson* list = shapes_.ReadList(schema, "required");
    if (list == nullptr) return;
    for (const ExactJson& name : list->items) {
      if (!name.is(JsonKind::kString)) {
        report().Refuse(schema.path + ".required", Described(name), "names of properties");
        return;
      }
      required_.push_back(name.text);
    }
  }

  void AddName(const std::string& name) {
    if (index_.try_emplace(name, names_.size()).second) names_.push_back(name);
  }

  // The named properties come first, then those that are only required.
  void NameProperties() {
    for (const std::string& tag : view_.tags) {
      if (index_.contains(tag)) required_.push_back(tag);
    }
    for (const std::string& name : required_) AddName(name);
  }

  // "propertyNames" gives a list of names, or limits all names as texts.
  void AddNamesOfPropertyNames() {
    name_limits_.field = view_.members.empty() ? "" : view_.members.front().path;
    if (name_schemas_.empty() || !report().ok()) return;
    const std::string& path = name_schemas_.front().path;
    SchemaViews& views = shapes_.views_;
    std::set<std::string> listed;
    std::vector<SchemaView> texts;
    for (const SchemaView& view : views.Expand(views.Make(name_schemas_), path)) {
      // A name is a text, whatever the schema says about other types.
      if (const auto values = shapes_.ValuesOf(view)) {
        for (const ExactJson* value : *values) {
          if (!value->is(JsonKind::kString) || !listed.insert(value->text).second) continue;
          listed_names_.push_back(value->text);
        }
      } else if (view.members.empty() || (shapes_.TypesOf(view) & kStringType) != 0) {
        texts.push_back(view);
      }
    }
    names_are_listed_ = texts.empty();
    if (texts.empty()) return;
    if (texts.size() > 1 || !listed.empty()) {
      report().Refuse(path, "alternatives of which some are not lists of names",
                      "one list of names, or limits that hold for every name");
      return;
    }
    const std::string field = std::exchange(name_limits_.field, "");
    name_limits_ = shapes_.TextOf(texts.front());
    if (name_limits_.field.empty()) name_limits_.field = field;
    limits_names_ = true;
  }

  // Whether each name matches the pattern, or satisfies the limits, of `language`.
  std::vector<bool> AdmittedNames(const TextLanguage& language) {
    const auto admitted = Admits(language, {names_.begin(), names_.end()}, pool());
    if (admitted.ok()) return *admitted;
    report().Refuse(admitted.status());
    return std::vector<bool>(names_.size());
  }

  void FillProperties() {
    const bool may_add = has_additional_ || !has_names_;
    if (names_are_listed_) {
      // Names that no keyword mentions become properties if others may be there.
      const size_t known = names_.size();
      for (const std::string& name : listed_names_) {
        if (may_add || !patterns_.empty()) AddName(name);
      }
      unmentioned_from_ = known;
    }
    std::vector<std::vector<bool>> matches;  // [pattern][name]
    for (const TextPattern& pattern : patterns_) {
      matches.push_back(AdmittedNames({.field = pattern.field, .patterns = {pattern}}));
    }
    std::vector<bool> allowed(names_.size(), true);
    if (limits_names_) allowed = AdmittedNames(name_limits_);
    constexpr int64_t kStepsOfName = 32;
    pool().Spend(kStepsOfName * std::ssize(names_));
    const std::set<std::string> listed(listed_names_.begin(), listed_names_.end());
    const std::set<std::string> required(required_.begin(), required_.end());
    for (size_t i = 0; i < names_.size() && report().ok(); ++i) {
      std::vector<size_t> matched;
      for (size_t p = 0; p < patterns_.size(); ++p) {
        if (matches[p][i]) matched.push_back(p);
      }
      const bool must = required.contains(names_[i]);
      const bool is_allowed = allowed[i] && (!names_are_listed_ || listed.contains(names_[i])) &&
                              (i < unmentioned_from_ || may_add || !matched.empty());
      if (is_allowed) {
        shape_.properties.push_back(
            {.name = names_[i], .schemas = SchemasOf(&names_[i], matched), .required = must});
      } else {
        shape_.impossible = shape_.impossible || must;
      }
    }
  }

  // The schemas of a property that matches the patterns of these indices; `name` is null if it is
  // none of the names. A member that knows it by neither has those of "additionalProperties".
  LocatedSchemas SchemasOf(const std::string* name, const std::vector<size_t>& matched) {
    LocatedSchemas schemas;
    for (const Member& member : members_) {
      const size_t before = schemas.size();
      const auto found = name == nullptr ? member.properties.end() : member.properties.find(*name);
      if (found != member.properties.end()) {
        schemas.push_back(
            {found->second, absl::StrCat(member.schema->path, ".properties.", PathKey(*name))});
      }
      for (const auto& [index, schema] : member.pattern_schemas) {
        if (std::ranges::count(matched, index) > 0) schemas.push_back(schema);
      }
      if (schemas.size() == before && member.additional != nullptr) {
        schemas.push_back({member.additional, member.schema->path + ".additionalProperties"});
      }
    }
    return schemas;
  }

  // One entry for each set of patterns, and names that match exactly these.
  void AddOthers() {
    if (names_are_listed_ || !report().ok()) return;
    const size_t sets = size_t{1} << patterns_.size();
    for (size_t set = 0; set < sets; ++set) {
      if (set == 0 && has_names_ && !has_additional_) continue;  // closed by default
      std::vector<size_t> matched;
      for (size_t p = 0; p < patterns_.size(); ++p) {
        if (set >> p & 1) matched.push_back(p);
      }
      LocatedSchemas schemas = SchemasOf(nullptr, matched);
      const auto is_false = [](const LocatedSchema& one) { return one.schema->is_false(); };
      if (std::ranges::any_of(schemas, is_false)) continue;
      TextLanguage names = name_limits_;
      for (size_t p = 0; p < patterns_.size(); ++p) {
        const bool matches = (set >> p & 1) != 0;
        names.patterns.push_back(
            {.regex = patterns_[p].regex, .field = patterns_[p].field, .negated = !matches});
      }
      names.excluded = names_;
      shape_.others.push_back({.names = std::move(names), .schemas = std::move(schemas)});
    }
  }

  SchemaShapes& shapes_;
  const SchemaView& view_;
  ObjectShape shape_;
  std::vector<Member> members_;
  std::vector<TextPattern> patterns_;
  LocatedSchemas name_schemas_;
  TextLanguage name_limits_;
  bool limits_names_ = false;
  bool names_are_listed_ = false;
  std::vector<std::string> listed_names_;
  std::vector<std::string> names_;
  absl::flat_hash_map<std::string, size_t> index_;
  size_t unmentioned_from_ = ~size_t{0};
  std::vector<std::string> required_;
  bool has_names_ = false;
  bool has_additional_ = false;
};

const ObjectShape::Property* ObjectShape::Find(std::string_view name) const {
  const auto found = std::ranges::find(properties, name, &Property::name);
  return found == properties.end() ? nullptr : &*found;
}

ObjectShape SchemaShapes::ObjectOf(const SchemaView& view) {
  return ObjectReader(*this, view).Read();
}

}  // namespace whipsnake::engine
