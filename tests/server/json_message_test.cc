#include "server/json_message.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "whipsnake/v1/fine_tuning.pb.h"
#include "whipsnake/v1/model.pb.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

TEST(JsonMessageTest, KeepsWhatIsSetWithNativeNumbers) {
  v1::FineTuningJobSpec spec;
  spec.set_model("demo");
  spec.set_seed(std::numeric_limits<uint64_t>::max());
  spec.set_max_steps(int64_t{1} << 60);
  spec.set_packed(false);
  spec.set_lr(1e-5);
  spec.add_freeze("a*");
  spec.add_groups()->set_pattern("b*");
  spec.mutable_groups(0)->set_lr_factor(0);
  const json object = MessageToJson(spec);
  EXPECT_EQ(object, json({{"model", "demo"},
                          {"seed", std::numeric_limits<uint64_t>::max()},
                          {"max_steps", int64_t{1} << 60},
                          {"packed", false},
                          {"lr", 1e-5},
                          {"freeze", {"a*"}},
                          {"groups", {{{"pattern", "b*"}, {"lr_factor", 0.0}}}}}));
  v1::FineTuningJobSpec back;
  JsonToMessage(object, &back);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(back, spec));
}

TEST(JsonMessageTest, LeavesOutWhatDoesNotFit) {
  v1::FineTuningJobSpec spec;
  JsonToMessage({{"model", 5},
                 {"max_steps", "many"},
                 {"lr", nullptr},
                 {"freeze", "a"},
                 {"groups", {1, {{"pattern", true}}}},
                 {"unknown", 1}},
                &spec);
  EXPECT_TRUE(spec.model().empty());
  EXPECT_FALSE(spec.has_max_steps());
  EXPECT_FALSE(spec.has_lr());
  EXPECT_EQ(spec.freeze_size(), 0);
  EXPECT_EQ(spec.groups_size(), 2);
  JsonToMessage(json::array(), &spec);
}

TEST(JsonMessageTest, AListTakesThePlaceOfTheOneBefore) {
  v1::FineTuningJobSpec spec;
  JsonToMessage({{"freeze", {"a", "b"}}, {"lr", 1}}, &spec);
  JsonToMessage({{"freeze", {"c"}}}, &spec);
  EXPECT_EQ(MessageToJson(spec), json({{"freeze", {"c"}}, {"lr", 1.0}}));
}

}  // namespace
}  // namespace whipsnake::server
