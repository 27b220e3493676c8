// Parses JSON documents from untrusted sources. json_reader.h reads the values of a document.
#ifndef WHIPSNAKE_ENGINE_BASE_JSON_H_
#define WHIPSNAKE_ENGINE_BASE_JSON_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace whipsnake::engine {

// Returns what is wrong with `text`, such as "malformed JSON at byte 19", or "" if nothing is. A
// valid text is JSON in UTF-8 without duplicate keys (the library would keep the last of them),
// nested at most 32 deep. So a recursive function over a document is at most 32 deep too.
std::string FindJsonFault(std::string_view text);

// Returns INVALID_ARGUMENT if FindJsonFault finds a fault or the document is not an object.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text);

// Like ParseJsonObject, for a file that Python may have written: its json module writes numbers
// that are not finite as NaN, Infinity and -Infinity. They become such numbers, which no typed
// reader accepts.
absl::StatusOr<nlohmann::json> ParsePythonJsonObject(std::string_view text);

// Returns the object in `text`, which ParsePythonJsonObject accepts, with its keys in their order.
nlohmann::ordered_json PythonJsonInOrder(std::string_view text);

// Returns the text that PythonJsonInOrder reads as `value`, indented by two spaces.
std::string PythonJsonText(nlohmann::ordered_json value);

// Describes a value for a message: a scalar as JSON, "an object", or "an array".
std::string Described(const nlohmann::json& value);
std::string Described(const nlohmann::ordered_json& value);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_BASE_JSON_H_
