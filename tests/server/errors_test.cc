#include "server/errors.h"

#include <cerrno>

#include "engine/base/field_errors.h"
#include "engine/base/files.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

TEST(ErrorsTest, EveryCodeKeepsItsNumberAndHasAReason) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status =
        ToGrpc(absl::Status(static_cast<absl::StatusCode>(code), "what happened"));
    EXPECT_EQ(status.error_code(), code);
    EXPECT_EQ(status.error_message(), "what happened");
    EXPECT_EQ(ReasonOf(status), absl::StatusCodeToString(static_cast<absl::StatusCode>(code)));
    google::rpc::Status rich;
    ASSERT_TRUE(rich.ParseFromString(status.error_details()));
    EXPECT_EQ(rich.code(), code);
    EXPECT_EQ(rich.message(), "what happened");
    EXPECT_EQ(HasRetry(status), code == grpc::UNAVAILABLE || code == grpc::RESOURCE_EXHAUSTED);
  }
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
}

TEST(ErrorsTest, FieldOfTheEngineGetsThePathInTheRequest) {
  const absl::Status engine_status = engine::InvalidField("sampling.top_p", "2", "at most 1");
  const absl::Status status = engine::WithFieldPrefix(engine_status, "parameters.");
  EXPECT_EQ(engine::FieldOf(status), "parameters.sampling.top_p");
  EXPECT_EQ(FieldOf(ToGrpc(status)), "parameters.sampling.top_p");
  EXPECT_EQ(status.message(), "parameters.sampling.top_p: 2 seen, expected at most 1");
  EXPECT_EQ(engine::FieldOf(engine::WithFieldPrefix(status, "request.")),
            "request.parameters.sampling.top_p");
  EXPECT_EQ(engine::WithFieldPrefix(absl::InternalError("x"), "parameters."),
            absl::InternalError("x"));
}

TEST(ErrorsTest, SeveralFieldsArriveAsSeveralViolations) {
  engine::FieldErrors errors;
  errors.Add(engine::InvalidField("n", "0", "at least 1"));
  errors.Add(absl::OkStatus());
  errors.Add(absl::NotFoundError("beside the fields this does not count"));
  errors.Add(engine::WithFieldPrefix(engine::InvalidField("top_p", "2", "at most 1"), "sampling."));
  const absl::Status status = engine::WithFieldPrefix(errors.status(), "parameters.");
  EXPECT_EQ(status.message(),
            "parameters.n: 0 seen, expected at least 1; "
            "parameters.sampling.top_p: 2 seen, expected at most 1");
  const auto detail = DetailOf<google::rpc::BadRequest>(ToGrpc(status));
  ASSERT_TRUE(detail);
  ASSERT_EQ(detail->field_violations_size(), 2);
  EXPECT_EQ(detail->field_violations(0).field(), "parameters.n");
  EXPECT_EQ(detail->field_violations(1).field(), "parameters.sampling.top_p");
  EXPECT_EQ(detail->field_violations(1).description(),
            "parameters.sampling.top_p: 2 seen, expected at most 1");
}

TEST(ErrorsTest, AnErrorThatIsAboutNoFieldIsKept) {
  engine::FieldErrors errors;
  EXPECT_TRUE(errors.status().ok());
  errors.Add(absl::NotFoundError("first"));
  errors.Add(absl::InternalError("second"));
  EXPECT_EQ(errors.status(), absl::NotFoundError("first"));
}

TEST(ErrorsTest, ManyHugeViolationsFitTheHeaders) {
  engine::FieldErrors errors;
  for (int i = 0; i < 100; ++i) {
    errors.Add(engine::InvalidField(std::string(10'000, 'f'), std::string(10'000, '\xFF'), "less"));
  }
  const grpc::Status status = ToGrpc(errors.status());
  constexpr size_t kRequestInfo = 600;  // the most that the request's id adds (call_log.h)
  EXPECT_LE(
      (status.error_details().size() + kRequestInfo) * 4 / 3 + status.error_message().size() * 3,
      8192);
  EXPECT_GT(DetailOf<google::rpc::BadRequest>(status)->field_violations_size(), 1);
}

TEST(ErrorsTest, WhatWasAttachedArrives) {
  absl::Status status = absl::NotFoundError("no model 'x'");
  status = WithReason(status, "MODEL_NOT_FOUND");
  status = WithResource(status, "model", "x");
  status = WithRetry(status, std::chrono::milliseconds(2500));
  status = WithPrecondition(status, "MODEL_STATE", "x");
  const grpc::Status result = ToGrpc(status);
  EXPECT_EQ(ReasonOf(result), "MODEL_NOT_FOUND");
  EXPECT_EQ(DetailOf<google::rpc::ResourceInfo>(result)->resource_name(), "x");
  EXPECT_EQ(DetailOf<google::rpc::RetryInfo>(result)->retry_delay().seconds(), 2);
  EXPECT_EQ(DetailOf<google::rpc::RetryInfo>(result)->retry_delay().nanos(), 500'000'000);
  EXPECT_EQ(DetailOf<google::rpc::PreconditionFailure>(result)->violations(0).subject(), "x");
  EXPECT_FALSE(DetailOf<google::rpc::BadRequest>(result));
}

// gRPC drops a call whose headers exceed 8 KiB, so an error with a huge message would never arrive.
TEST(ErrorsTest, HugeAndMalformedMessagesAreBoundedText) {
  std::string message(100'000, '\xFF');
  const grpc::Status status =
      ToGrpc(engine::InvalidField(message, message, "something \xE4\xBD\xA0 shorter"));
  EXPECT_LE(status.error_message().size(), kMaxMessageBytes);
  EXPECT_TRUE(engine::IsUtf8(status.error_message()));
  EXPECT_LE(status.error_details().size() * 4 / 3 + status.error_message().size() * 3, 8192);
  EXPECT_FALSE(FieldOf(status).empty());
}

// Errors of the server's own files are not blamed on the request, and their messages contain no
// path.
TEST(ErrorsTest, FilesOfTheServersAreNoFaultOfTheRequest) {
  const absl::Status file = engine::WithPath(absl::NotFoundError("no such file"), "/srv/m/x.json");
  for (const auto code : {absl::StatusCode::kNotFound, absl::StatusCode::kInvalidArgument}) {
    const grpc::Status bad = ToGrpc(AsCheckpointError(engine::WithCode(file, code)));
    EXPECT_EQ(bad.error_code(), grpc::DATA_LOSS);
    EXPECT_EQ(bad.error_message(), "x.json: no such file");
    EXPECT_EQ(ReasonOf(bad), "BAD_CHECKPOINT");
  }
  const grpc::Status unreadable =
      ToGrpc(AsCheckpointError(engine::WithCode(file, absl::StatusCode::kPermissionDenied)));
  EXPECT_EQ(unreadable.error_code(), grpc::INTERNAL);
  EXPECT_EQ(ReasonOf(unreadable), "STORAGE_FAILED");
  EXPECT_EQ(AsCheckpointError(absl::UnimplementedError("x")), absl::UnimplementedError("x"));

  const grpc::Status failed = ToGrpc(StorageError(file, "the state could not be read"));
  EXPECT_EQ(failed.error_code(), grpc::INTERNAL);
  EXPECT_EQ(failed.error_message(), "the state could not be read");
  EXPECT_EQ(ReasonOf(failed), "STORAGE_FAILED");
  const auto reason_of = [](int error) {
    const grpc::Status status =
        ToGrpc(StorageError(engine::FileError(error, "x"), "it could not be written"));
    EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
    return ReasonOf(status);
  };
  for (const int error : {ENOSPC, EDQUOT, EFBIG}) EXPECT_EQ(reason_of(error), "STORAGE_FULL");
  for (const int error : {EMFILE, ENFILE, ENOMEM}) EXPECT_EQ(reason_of(error), "STORAGE_FAILED");
  EXPECT_TRUE(StorageError(absl::OkStatus(), "x").ok());
}

}  // namespace
}  // namespace whipsnake::server
