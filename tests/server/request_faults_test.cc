// Faults that every call refuses in the same way: tables over all methods of the services.
#include <map>
#include <set>

#include "tests/engine/base/support.h"
#include "tests/server/support.h"
#include "whipsnake/v1/dataset.pb.h"
#include "whipsnake/v1/fine_tuning.pb.h"

namespace whipsnake::server {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

std::unique_ptr<Message> NewMessage(const Descriptor* type) {
  return std::unique_ptr<Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
}

// Calls a method with one message. A stream that ends with an error looks like a unary call.
grpc::Status CallWith(const TestServer& server, const MethodDescriptor* method,
                      const Message& request) {
  grpc::ClientContext context;
  return CallMethod(server, "/" + method->service()->full_name() + "/" + method->name(),
                    request.SerializeAsString(), &context);
}

std::set<std::string> FieldsOf(const grpc::Status& status) {
  std::set<std::string> fields;
  if (const auto detail = DetailOf<google::rpc::BadRequest>(status)) {
    for (const auto& violation : detail->field_violations()) fields.insert(violation.field());
  }
  return fields;
}

// Of data sets, of jobs and of models.
std::vector<const MethodDescriptor*> AllMethods() {
  std::vector<const MethodDescriptor*> methods;
  for (const Descriptor* of :
       {v1::UploadHeader::descriptor(), v1::FineTuningJob::descriptor(), v1::Model::descriptor()}) {
    const google::protobuf::ServiceDescriptor* const service = of->file()->service(0);
    for (int i = 0; i < service->method_count(); ++i) methods.push_back(service->method(i));
  }
  return methods;
}

// Sets the texts that a request needs, so that nothing but a number is wrong.
void SetTexts(Message& message) {
  const std::map<std::string, std::string> texts = {
      {"id", "job"},    {"name", "alphabet"}, {"alias", "alphabet:stable"}, {"model", "alphabet"},
      {"train", "set"}, {"path", "a"},        {"output_path", "b"}};
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    const auto found = texts.find(field->name());
    if (field->is_repeated() || found == texts.end()) continue;
    std::string text = found->second;
    if (field->name() == "alias" && message.GetDescriptor()->name() == "PromoteCheckpointRequest") {
      text = "stable";
    }
    message.GetReflection()->SetString(&message, field, text);
  }
}

bool SetNegative(Message& message, const FieldDescriptor* field) {
  if (field->is_repeated()) return false;
  const auto* reflection = message.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      reflection->SetInt32(&message, field, -1);
      return true;
    case FieldDescriptor::CPPTYPE_INT64:
      reflection->SetInt64(&message, field, -1);
      return true;
    case FieldDescriptor::CPPTYPE_FLOAT:
      reflection->SetFloat(&message, field, -1);
      return true;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      reflection->SetDouble(&message, field, -1);
      return true;
    default:
      return false;
  }
}

class RequestFaultsTest : public testing::Test {
 protected:
  void Start(bool with_data) {
    DaemonOptions options = FakeOptions(engine_);
    if (with_data) options.data = directory_.path();
    server_.emplace(std::move(options));
  }

  const engine::TemporaryDirectory directory_;
  FakeEngine engine_;
  std::optional<TestServer> server_;
};

TEST_F(RequestFaultsTest, ANegativeNumberIsRefusedByItsName) {
  Start(/*with_data=*/true);
  for (const MethodDescriptor* method : AllMethods()) {
    const Descriptor* type = method->input_type();
    const auto check = [&](const FieldDescriptor* part, const FieldDescriptor* field) {
      const auto request = NewMessage(type);
      SetTexts(*request);
      Message* message = request.get();
      if (part != nullptr) message = request->GetReflection()->MutableMessage(message, part);
      SetTexts(*message);
      if (field->name() == "priority" || !SetNegative(*message, field)) return;
      const grpc::Status status = CallWith(*server_, method, *request);
      EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT)
          << field->full_name() << ": " << status.error_message();
      EXPECT_THAT(FieldsOf(status), testing::Contains(field->name()))
          << field->full_name() << ": " << status.error_message();
    };
    for (int i = 0; i < type->field_count(); ++i) {
      const FieldDescriptor* field = type->field(i);
      check(nullptr, field);
      const Descriptor* part = field->is_repeated() ? nullptr : field->message_type();
      for (int j = 0; part != nullptr && j < part->field_count(); ++j) check(field, part->field(j));
    }
  }
}

TEST_F(RequestFaultsTest, WithoutADataDirectoryAllCallsThatNeedItSayTheSame) {
  Start(/*with_data=*/false);
  std::vector<const MethodDescriptor*> methods;
  for (const MethodDescriptor* method : AllMethods()) {
    const bool of_versions = method->name().find("Version") != std::string::npos ||
                             method->name().find("Alias") != std::string::npos ||
                             method->name() == "RollBackModel";
    if (method->service()->name() != "ModelService" || of_versions) methods.push_back(method);
  }
  ASSERT_EQ(methods.size(), 21);
  std::set<std::string> messages;
  for (const MethodDescriptor* method : methods) {
    const auto request = NewMessage(method->input_type());
    SetTexts(*request);
    if (method->name() == "DeleteModelVersion") {
      static_cast<v1::DeleteModelVersionRequest&>(*request).set_name("alphabet:1");
    } else if (method->name() == "SetModelAlias") {
      static_cast<v1::SetModelAliasRequest&>(*request).set_version(1);
    }
    const grpc::Status status = CallWith(*server_, method, *request);
    EXPECT_EQ(status.error_code(), grpc::FAILED_PRECONDITION) << method->name();
    EXPECT_EQ(ReasonOf(status), "NO_DATA_DIRECTORY") << method->name();
    messages.insert(status.error_message());
  }
  EXPECT_EQ(messages.size(), 1) << testing::PrintToString(messages);
}

}  // namespace
}  // namespace whipsnake::server
