// What one view asks for, read by type at most once, however many views it is compared with.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_FACTS_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_FACTS_H_

#include <array>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/structured/schema_shape.h"
#include "engine/structured/schema_view.h"

namespace whipsnake::engine {

// The facts of a view without choices. Not thread-safe.
class SchemaFacts {
 public:
  // Values that "const" and "enum" leave.
  struct Values {
    std::vector<const ExactJson*> list;
    std::set<std::string> texts;  // their canonical forms
  };

  // `shapes` must outlive it.
  SchemaFacts(SchemaView view, SchemaShapes& shapes) : view_(std::move(view)), shapes_(shapes) {}

  const SchemaView& view() const { return view_; }
  // Whether the value is one of a list, which is the cheapest to compare.
  bool lists_values() const;

  // As SchemaShapes reads them.
  TypeSet types(Reading reading);
  const std::optional<Values>& values(Reading reading);
  const NumberRange& range();
  const TextLanguage& text(Reading reading);
  const ArrayShape& array();
  // If it is of what is valid, a discriminator asks for nothing.
  const ObjectShape& object(Reading reading);

 private:
  // One value for each reading.
  template <typename T>
  using ByReading = std::array<std::optional<T>, 2>;

  template <typename T>
  static const T& ReadOnce(std::optional<T>& fact, const auto& read) {
    if (!fact) fact.emplace(read());
    return *fact;
  }
  template <typename T>
  static std::optional<T>& Of(ByReading<T>& facts, Reading reading) {
    return facts[reading == Reading::kGenerated ? 0 : 1];
  }

  SchemaView view_;
  SchemaShapes& shapes_;
  ByReading<TypeSet> types_;
  ByReading<std::optional<Values>> values_;
  std::optional<NumberRange> range_;
  ByReading<TextLanguage> texts_;
  std::optional<ArrayShape> array_;
  ByReading<ObjectShape> objects_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_SCHEMA_FACTS_H_
