#include "server/rpc/call_record.h"

#include <gtest/gtest.h>

#include "whipsnake/v1/fine_tuning.pb.h"
#include "whipsnake/v1/generation.pb.h"
#include "whipsnake/v1/model.pb.h"
#include "whipsnake/v1/state.pb.h"

namespace whipsnake::server {
namespace {

constexpr char kTraceId[] = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr char kTraceParent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(CallRecordTest, TakesWhatTheParametersOfAGenerationSay) {
  v1::GenerateRequest request;
  request.mutable_parameters()->set_model("m");
  request.mutable_parameters()->set_client("c");
  request.mutable_parameters()->set_request_id("r");
  CallRecord record;
  record.TakeFrom(request);
  EXPECT_EQ(record.model, "m");
  EXPECT_EQ(record.client, "c");
  EXPECT_EQ(record.request_id, "r");
}

TEST(CallRecordTest, TakesTheJobAndItsModel) {
  v1::CreateFineTuningJobRequest request;
  request.set_id("j");
  request.mutable_spec()->set_model("m");
  CallRecord record;
  record.TakeFrom(request);
  EXPECT_EQ(record.id, "j");
  EXPECT_EQ(record.model, "m");
}

TEST(CallRecordTest, ANameIsThatOfAModel) {
  v1::GetModelRequest request;
  request.set_name("m");
  CallRecord record;
  record.TakeFrom(request);
  EXPECT_EQ(record.model, "m");
}

TEST(CallRecordTest, AnIdThatCannotBeUsedLeavesTheOneThatThereIs) {
  for (const std::string& id : {std::string(), std::string(129, 'x'), std::string("\xFF")}) {
    v1::GenerateRequest request;
    request.mutable_parameters()->set_request_id(id);
    CallRecord record;
    record.request_id = "metadata's";
    record.TakeFrom(request);
    EXPECT_EQ(record.request_id, "metadata's");
  }
}

TEST(CallRecordTest, TextsAreBounded) {
  v1::GenerateRequest request;
  request.mutable_parameters()->set_client(std::string(1 << 20, 'c'));
  CallRecord record;
  record.TakeFrom(request);
  EXPECT_LE(record.client.size(), 512);
}

TEST(CallRecordTest, TakesNoPromptAndNoHandle) {
  v1::SaveStateRequest save;
  save.set_text("secret");
  save.set_state("secret");
  v1::ForkStateRequest fork;
  fork.set_handle("secret");
  for (const google::protobuf::Message* request :
       std::initializer_list<const google::protobuf::Message*>{&save, &fork}) {
    CallRecord record;
    record.TakeFrom(*request);
    EXPECT_EQ(record.client + record.model + record.id + record.request_id, "");
  }
}

TEST(TraceParentTest, AcceptsThoseOfTheStandard) {
  EXPECT_TRUE(IsTraceParent(kTraceParent));
  EXPECT_EQ(TraceIdOf(kTraceParent), kTraceId);
  // A later version may have more.
  std::string later = kTraceParent;
  later.replace(0, 2, "01");
  EXPECT_TRUE(IsTraceParent(later));
  EXPECT_TRUE(IsTraceParent(later + "-more"));
  EXPECT_FALSE(IsTraceParent(later + "more"));
  EXPECT_FALSE(IsTraceParent(later + "-" + std::string(1000, 'x')));
  EXPECT_FALSE(IsTraceParent(later + "-\n"));
  EXPECT_FALSE(IsTraceParent(std::string(kTraceParent) + "-more"));
}

TEST(TraceParentTest, RefusesAnyDamage) {
  const std::string good = kTraceParent;
  for (size_t i = 0; i < good.size(); ++i) {
    EXPECT_FALSE(IsTraceParent(good.substr(0, i))) << i;
    for (const char c : {'g', 'A', ' ', '-', '\xFF'}) {
      std::string bad = good;
      bad[i] = c;
      EXPECT_EQ(IsTraceParent(bad), bad == good) << bad;
    }
  }
  std::string zero_trace = good, zero_parent = good, version = good;
  zero_trace.replace(3, 32, 32, '0');
  zero_parent.replace(36, 16, 16, '0');
  version.replace(0, 2, "ff");
  for (const std::string& bad : {zero_trace, zero_parent, version}) {
    EXPECT_FALSE(IsTraceParent(bad)) << bad;
  }
}

}  // namespace
}  // namespace whipsnake::server
