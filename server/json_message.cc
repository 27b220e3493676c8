#include "server/json_message.h"

#include <nlohmann/json.hpp>
#include <string>

namespace whipsnake::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using nlohmann::json;

json FieldToJson(const Message& message, const FieldDescriptor* field) {
  const Reflection& reflection = *message.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(message, field);
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.GetInt64(message, field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.GetUInt64(message, field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetDouble(message, field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, field);
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.GetString(message, field);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageToJson(reflection.GetMessage(message, field));
    default:
      return nullptr;
  }
}

json ElementToJson(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection& reflection = *message.GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    return MessageToJson(reflection.GetRepeatedMessage(message, field, index));
  }
  return reflection.GetRepeatedString(message, field, index);
}

void SetField(Message* message, const FieldDescriptor* field, const json& value) {
  const Reflection& reflection = *message->GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      if (value.is_number_integer()) reflection.SetInt32(message, field, value.get<int32_t>());
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      if (value.is_number_integer()) reflection.SetInt64(message, field, value.get<int64_t>());
      break;
    case FieldDescriptor::CPPTYPE_UINT64:
      if (value.is_number_integer()) reflection.SetUInt64(message, field, value.get<uint64_t>());
      break;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      if (value.is_number()) reflection.SetDouble(message, field, value.get<double>());
      break;
    case FieldDescriptor::CPPTYPE_BOOL:
      if (value.is_boolean()) reflection.SetBool(message, field, value.get<bool>());
      break;
    case FieldDescriptor::CPPTYPE_STRING:
      if (value.is_string()) reflection.SetString(message, field, value.get<std::string>());
      break;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      JsonToMessage(value, reflection.MutableMessage(message, field));
      break;
    default:
      break;
  }
}

void AddElement(Message* message, const FieldDescriptor* field, const json& value) {
  const Reflection& reflection = *message->GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    JsonToMessage(value, reflection.AddMessage(message, field));
  } else if (value.is_string()) {
    reflection.AddString(message, field, value.get<std::string>());
  }
}

}  // namespace

json MessageToJson(const Message& message) {
  json object = json::object();
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    json& value = object[field->name()];
    if (!field->is_repeated()) {
      value = FieldToJson(message, field);
      continue;
    }
    value = json::array();
    for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
      value.push_back(ElementToJson(message, field, i));
    }
  }
  return object;
}

void JsonToMessage(const json& object, Message* message) {
  if (!object.is_object()) return;
  for (const auto& [key, value] : object.items()) {
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(key);
    if (field == nullptr) continue;
    if (!field->is_repeated()) {
      SetField(message, field, value);
    } else if (value.is_array()) {
      message->GetReflection()->ClearField(message, field);
      for (const json& element : value) AddElement(message, field, element);
    }
  }
}

}  // namespace whipsnake::server
