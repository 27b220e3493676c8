// Conversion between messages and JSON objects with the fields' names and native numbers.
#ifndef WHIPSNAKE_SERVER_JSON_MESSAGE_H_
#define WHIPSNAKE_SERVER_JSON_MESSAGE_H_

#include <google/protobuf/message.h>

#include <nlohmann/json_fwd.hpp>

namespace whipsnake::server {

// The fields that are set, under their names in the proto file. 64-bit integers are numbers, unlike
// in Protobuf's own mapping. Fields may be numbers, bools, strings, messages and lists of these,
// but no maps, enums or bytes.
nlohmann::json MessageToJson(const google::protobuf::Message& message);

// The inverse: sets the fields that the object has, in the place of what is there. Keys that the
// message does not have, and values of another type than the field's, are left out.
void JsonToMessage(const nlohmann::json& object, google::protobuf::Message* message);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JSON_MESSAGE_H_
