#include "server/cli/dataset_wait.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace whipsnake::server {
namespace {

v1::Dataset Validating(const std::string& error) {
  v1::Dataset dataset;
  dataset.set_id("reviews");
  dataset.set_state(v1::DATASET_STATE_VALIDATING);
  dataset.set_error(error);
  return dataset;
}

// What the command writes to stderr and stdout while a data set is as these, one after the other,
// and then READY.
std::pair<std::string, std::string> WrittenFor(const std::vector<v1::Dataset>& course, bool json) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  size_t at = 0;
  const auto ended =
      WaitForValidation(course[0], Output(json), [&]() -> absl::StatusOr<v1::Dataset> {
        if (++at < course.size()) return course[at];
        v1::Dataset ready = course[0];
        ready.set_state(v1::DATASET_STATE_READY);
        return ready;
      });
  EXPECT_TRUE(ended.ok() && ended->state() == v1::DATASET_STATE_READY) << ended.status();
  std::string out = testing::internal::GetCapturedStdout();
  return {testing::internal::GetCapturedStderr(), std::move(out)};
}

TEST(DatasetWaitTest, TellsOnceWhyTheValidationIsPutOff) {
  const std::vector<v1::Dataset> course = {Validating(""), Validating("is read later: memory"),
                                           Validating("is read later: memory"),
                                           Validating("is read later: still no memory")};
  EXPECT_EQ(WrittenFor(course, /*json=*/false),
            std::pair(std::string("data set reviews is read later: memory\n"
                                  "data set reviews is read later: still no memory\n"),
                      std::string()));
  EXPECT_EQ(WrittenFor(course, /*json=*/true),
            std::pair(std::string(), std::string("{\"event\":\"message\",\"text\":\"is read later: "
                                                 "memory\"}\n{\"event\":\"message\",\"text\":\"is "
                                                 "read later: still no memory\"}\n")));
}

TEST(DatasetWaitTest, IsSilentOtherwise) {
  EXPECT_EQ(WrittenFor({Validating(""), Validating("")}, false),
            std::pair(std::string(), std::string()));
}

}  // namespace
}  // namespace whipsnake::server
