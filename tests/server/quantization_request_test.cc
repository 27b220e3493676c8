// Validation of quantization requests, and how their fields reach the work.
#include "tests/server/quantization_support.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;

TEST_F(QuantizationServiceTest, BadRequestsAreRefusedByField) {
  struct Case {
    std::string field;
    std::function<void(v1::QuantizeModelRequest&)> change;
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<Case> cases = {
      {"path", [](auto& request) { request.clear_path(); }},
      {"path", [](auto& request) { request.set_path("/etc"); }},
      {"path", [](auto& request) { request.set_path("../outside"); }},
      {"output_path", [](auto& request) { request.clear_output_path(); }},
      {"output_path", [this](auto& request) { request.set_output_path(root_ / "out"); }},
      {"output_path", [](auto& request) { request.set_output_path("../out"); }},
      {"output_path", [](auto& request) { request.set_output_path("one/../../out"); }},
      {"scheme", [](auto& request) { request.set_scheme("fp8"); }},
      {"scheme", [](auto& request) { request.set_scheme("bf16"); }},
      {"granularity", [](auto& request) { request.set_granularity("row"); }},
      {"head", [](auto& request) { request.set_head("fp32"); }},
      {"percentile", [](auto& request) { request.set_percentile(-0.1); }},
      {"percentile",
       [](auto& request) {
         request.set_scheme("static-w8a8");
         request.set_percentile(0.9);
       }},
      {"percentile", [](auto& request) { request.set_percentile(1.01); }},
      {"percentile", [=](auto& request) { request.set_percentile(nan); }},
      {"max_samples", [](auto& request) { request.set_max_samples(9); }},
      {"max_samples", [](auto& request) { request.set_max_samples(-1); }},
      {"max_samples", [](auto& request) { request.set_max_samples((1 << 20) + 1); }},
      {"max_tokens", [](auto& request) { request.set_max_tokens(1); }},
      {"max_tokens", [](auto& request) { request.set_max_tokens((1 << 20) + 1); }},
      {"texts", [](auto& request) { request.clear_texts(); }},
      {"texts",
       [](auto& request) { request.add_texts(std::string(kMaxInlineCalibrationBytes, 'x')); }},
      {"calibration_path", [](auto& request) { request.set_calibration_path("texts.txt"); }},
      {"calibration_path",
       [](auto& request) {
         request.clear_texts();
         request.set_calibration_path("../texts.txt");
       }},
      {"calibration_path",
       [](auto& request) {
         request.clear_texts();
         request.set_calibration_path("large.txt");
       }},
  };
  for (const Case& bad : cases) {
    v1::QuantizeModelRequest request = RequestFor("out");
    bad.change(request);
    const grpc::Status status = Quantize(request);
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << bad.field;
    EXPECT_EQ(FieldOf(status), bad.field) << status.error_message();
  }
  EXPECT_EQ(Page(0, "").quantizations_size(), 0);
}

TEST_F(QuantizationServiceTest, WhatShouldBeThereMustBeAndWhatShouldNotMustNot) {
  const auto code = [this](const std::function<void(v1::QuantizeModelRequest&)>& change) {
    v1::QuantizeModelRequest request = RequestFor("out");
    change(request);
    return Quantize(request).error_code();
  };
  EXPECT_EQ(code([](auto& request) { request.set_path("absent"); }), grpc::NOT_FOUND);
  EXPECT_EQ(code([](auto& request) { request.set_path("empty"); }), grpc::NOT_FOUND);
  EXPECT_EQ(code([](auto& request) { request.set_path("t5"); }), grpc::UNIMPLEMENTED);
  EXPECT_EQ(code([](auto& request) { request.set_path("nonsense"); }), grpc::DATA_LOSS);
  // There is no Hadamard matrix of order 36; a scheme without a rotation needs none.
  EXPECT_EQ(code([](auto& request) { request.set_path("odd"); }), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(code([](auto& request) { request.set_path("done"); }), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(code([](auto& request) { request.set_output_path("empty"); }), grpc::ALREADY_EXISTS);
  EXPECT_EQ(code([](auto& request) { request.set_output_path("absent/out"); }), grpc::NOT_FOUND);
  for (const char* file : {"absent.txt", "one"}) {
    EXPECT_EQ(code([&](auto& request) {
                request.clear_texts();
                request.set_calibration_path(file);
              }),
              grpc::NOT_FOUND);
  }
  EXPECT_EQ(Page(0, "").quantizations_size(), 0);
}

TEST_F(QuantizationServiceTest, TwoDoNotMakeTheSameDirectory) {
  quantizer_.steps.Close();
  const std::string running = Start("out");
  quantizer_.steps.WaitForArrivals(1);
  const std::string waiting = Start("later");
  for (const char* output : {"out", "./out/", "one/../later"}) {
    const grpc::Status status = Quantize(RequestFor(output));
    EXPECT_EQ(status.error_code(), grpc::ALREADY_EXISTS) << output;
    EXPECT_EQ(ReasonOf(status), "OUTPUT_EXISTS");
  }
  ASSERT_TRUE(Cancel(waiting).ok());
  EXPECT_TRUE(Quantize(RequestFor("later")).ok());
}

TEST_F(QuantizationServiceTest, EveryFieldReachesTheWork) {
  v1::QuantizeModelRequest request = RequestFor("plain");
  Quantize(request);
  request.set_output_path("all");
  request.set_scheme("quamba-w8a8-norot");
  request.set_percentile(0.75);
  request.set_granularity("tensor");
  request.set_head("bf16");
  request.set_residual_rotation(true);
  request.set_max_samples(11);
  request.set_max_tokens(13);
  request.add_texts("a \"second\"\ntext");
  Quantize(request);
  request = RequestFor("file");
  request.clear_texts();
  request.set_calibration_path("one/../texts.txt");
  v1::Quantization last;
  ASSERT_TRUE(Quantize(request, &last).ok());
  WaitForEnd(last.id());

  const std::vector<QuantizationRequest> seen = quantizer_.seen();
  ASSERT_EQ(seen.size(), 3u);
  const QuantizationRequest& plain = seen[0];
  EXPECT_EQ(plain.directory, fs::canonical(root_) / "one");
  EXPECT_EQ(plain.output_directory, fs::canonical(root_) / "plain");
  EXPECT_EQ(plain.options.recipe.scheme, engine::Scheme::kQuamba);
  EXPECT_EQ(plain.options.recipe.granularity, engine::Granularity::kChannel);
  EXPECT_EQ(plain.options.recipe.head_bits, 8);
  EXPECT_FALSE(plain.options.recipe.residual_rotation);
  EXPECT_FALSE(plain.options.percentile.has_value());
  EXPECT_EQ(plain.samples.max_samples, 512);
  EXPECT_EQ(plain.samples.max_tokens, 512);
  EXPECT_EQ(plain.calibration_text, "Some text.");  // a single text is a whole file
  EXPECT_EQ(plain.calibration_file, "");
  const QuantizationRequest& all = seen[1];
  EXPECT_EQ(all.options.recipe.scheme, engine::Scheme::kQuambaNoRotation);
  EXPECT_EQ(all.options.recipe.granularity, engine::Granularity::kTensor);
  EXPECT_EQ(all.options.recipe.head_bits, 16);
  EXPECT_TRUE(all.options.recipe.residual_rotation);
  EXPECT_EQ(all.options.percentile, 0.75);
  EXPECT_EQ(all.samples.max_samples, 11);
  EXPECT_EQ(all.samples.max_tokens, 13);
  EXPECT_EQ(all.calibration_text,
            "{\"text\":\"Some text.\"}\n{\"text\":\"a \\\"second\\\"\\ntext\"}\n");
  EXPECT_EQ(seen[2].calibration_file, fs::canonical(root_) / "texts.txt");
  EXPECT_EQ(seen[2].calibration_text, "");
}

TEST(QuantizationWithoutRootTest, IsRefused) {
  FakeEngine engine;
  TestServer server(FakeOptions(engine));
  grpc::ClientContext context;
  v1::QuantizeModelRequest request;
  v1::QuantizeModelResponse response;
  request.set_path("one");
  request.set_output_path("out");
  request.add_texts("x");
  const grpc::Status status = server.models->QuantizeModel(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(status), "NO_MODEL_ROOT");
}

}  // namespace
}  // namespace whipsnake::server
