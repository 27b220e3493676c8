#include <fstream>
#include <new>
#include <set>

#include "engine/base/status.h"
#include "server/rpc/quantization_request.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kConfig[] = R"({"model_type": "mamba", "vocab_size": 300, "hidden_size": 16,
    "num_hidden_layers": 1, "state_size": 4, "intermediate_size": 32})";

// Tells five steps, the last of which is the end, each when the gate lets it. What the output is
// called decides how it goes.
struct FakeQuantizer {
  static constexpr int kSteps = 5;
  Gate steps;

  absl::StatusOr<engine::QuantizationReport> operator()(const QuantizationRequest& request,
                                                        const engine::QuantizeProgress& progress) {
    {
      std::lock_guard lock(mutex);
      requests.push_back(request);
    }
    if (request.output_path == "no-memory") throw std::bad_alloc();
    for (int step = 0; step < kSteps; ++step) {
      steps.Pass();
      RETURN_IF_ERROR(progress("step " + std::to_string(step), step / (kSteps - 1.0)));
      if (step == 1 && request.output_path == "no-disk") {
        return absl::ResourceExhaustedError("no-disk/model.safetensors: no space");
      }
      if (step == 1 && request.output_path == "confused") return absl::CancelledError("by whom?");
    }
    engine::QuantizationReport report;
    report.percentile = 0.9999;
    report.trials = {{0.9995, 2.5}, {0.9999, 2.25}};
    report.calibration_tokens = 1234;
    report.calibration_digest = "fnv1a64:0123";
    report.float_bytes = 4000;
    report.quantized_bytes = 1001;
    report.sites.resize(3);
    return report;
  }

  std::vector<std::string> outputs() {
    std::lock_guard lock(mutex);
    std::vector<std::string> outputs;
    for (const auto& request : requests) outputs.push_back(request.output_path);
    return outputs;
  }

  std::mutex mutex;
  std::vector<QuantizationRequest> requests;
};

class QuantizationServiceTest : public testing::Test {
 protected:
  using Reader = std::unique_ptr<grpc::ClientReader<v1::WatchQuantizationResponse>>;

  void SetUp() override {
    root_ = fs::path(testing::TempDir()) / ("whipsnake-quantize-" + std::to_string(getpid()));
    for (const char* name : {"one", "empty", "gpt2", "nonsense", "odd", "done"}) {
      fs::create_directories(root_ / name);
    }
    std::ofstream(root_ / "one" / "config.json") << kConfig;
    std::ofstream(root_ / "gpt2" / "config.json") << R"({"model_type": "gpt2"})";
    std::ofstream(root_ / "nonsense" / "config.json")
        << R"({"model_type": "mamba", "hidden_size": -1})";
    std::ofstream(root_ / "odd" / "config.json")
        << R"({"model_type": "mamba", "vocab_size": 300, "hidden_size": 18})";
    std::string quantized = kConfig;
    quantized.insert(1, R"("quantization_config": {"quant_method": "quamba", "version": 1,
        "bits": 8, "scheme": "quamba-w8a8", "output_rotation": true, "head_bits": 8},)");
    std::ofstream(root_ / "done" / "config.json") << quantized;
    std::ofstream(root_ / "texts.txt") << "Some text.";
    std::ofstream(root_ / "large.txt").seekp(kMaxCalibrationFileBytes) << "x";
    DaemonOptions options = FakeOptions(engine_);
    options.model_root = root_;
    options.quantizer = std::ref(quantizer_);
    server_.emplace(std::move(options));
  }
  void TearDown() override {
    quantizer_.steps.Open();
    server_.reset();
    fs::remove_all(root_);
  }

  static v1::QuantizeModelRequest RequestFor(const std::string& output) {
    v1::QuantizeModelRequest request;
    request.set_path("one");
    request.set_output_path(output);
    request.add_texts("Some text.");
    return request;
  }

  grpc::Status Quantize(const v1::QuantizeModelRequest& request,
                        v1::Quantization* quantization = nullptr) {
    grpc::ClientContext context;
    v1::QuantizeModelResponse response;
    const grpc::Status status = server_->models->QuantizeModel(&context, request, &response);
    if (quantization != nullptr) *quantization = response.quantization();
    return status;
  }

  // The id of a new one, which must be taken.
  std::string Start(const std::string& output) {
    v1::Quantization quantization;
    const grpc::Status status = Quantize(RequestFor(output), &quantization);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return quantization.id();
  }

  v1::Quantization Get(const std::string& id, grpc::StatusCode code = grpc::OK) {
    grpc::ClientContext context;
    v1::GetQuantizationRequest request;
    v1::GetQuantizationResponse response;
    request.set_id(id);
    EXPECT_EQ(server_->models->GetQuantization(&context, request, &response).error_code(), code);
    return response.quantization();
  }

  grpc::Status Cancel(const std::string& id, v1::Quantization* quantization = nullptr) {
    grpc::ClientContext context;
    v1::CancelQuantizationRequest request;
    v1::CancelQuantizationResponse response;
    request.set_id(id);
    const grpc::Status status = server_->models->CancelQuantization(&context, request, &response);
    if (quantization != nullptr) *quantization = response.quantization();
    return status;
  }

  Reader Watch(grpc::ClientContext& context, const std::string& id) {
    v1::WatchQuantizationRequest request;
    request.set_id(id);
    return server_->models->WatchQuantization(&context, request);
  }

  static v1::Quantization Next(const Reader& reader) {
    v1::WatchQuantizationResponse response;
    EXPECT_TRUE(reader->Read(&response));
    return response.quantization();
  }

  // The last message of a stream that ends well.
  static v1::Quantization Last(const Reader& reader) {
    v1::WatchQuantizationResponse response;
    while (reader->Read(&response)) continue;
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.quantization();
  }

  v1::Quantization WaitForEnd(const std::string& id) {
    grpc::ClientContext context;
    return Last(Watch(context, id));
  }

  v1::ListQuantizationsResponse Page(int size, const std::string& token,
                                     grpc::Status* status = nullptr) {
    grpc::ClientContext context;
    v1::ListQuantizationsRequest request;
    v1::ListQuantizationsResponse response;
    request.set_page_size(size);
    request.set_page_token(token);
    const grpc::Status answer = server_->models->ListQuantizations(&context, request, &response);
    if (status != nullptr) *status = answer;
    return response;
  }

  FakeEngine engine_;
  FakeQuantizer quantizer_;
  fs::path root_;
  std::optional<TestServer> server_;
};

TEST_F(QuantizationServiceTest, IsSeenFromItsStartToItsEnd) {
  quantizer_.steps.Close();
  v1::Quantization created;
  v1::QuantizeModelRequest request = RequestFor("out");
  request.set_scheme("quamba-w8a8-norot");
  ASSERT_TRUE(Quantize(request, &created).ok());
  EXPECT_EQ(created.state(), v1::QUANTIZATION_STATE_QUEUED);
  EXPECT_EQ(created.path(), "one");
  EXPECT_EQ(created.output_path(), "out");
  EXPECT_EQ(created.scheme(), "quamba-w8a8-norot");
  EXPECT_TRUE(created.has_create_time());
  EXPECT_FALSE(created.has_start_time());

  grpc::ClientContext context;
  const Reader reader = Watch(context, created.id());
  double before = -1;
  // Nothing happens without a permit, so that no step can be left out.
  for (int step = 0; step < FakeQuantizer::kSteps; ++step) {
    quantizer_.steps.Permit(1);
    v1::Quantization seen;
    do {
      seen = Next(reader);
    } while (seen.stage() != "step " + std::to_string(step));
    EXPECT_GT(seen.fraction(), before);
    EXPECT_TRUE(seen.has_start_time());
    before = seen.fraction();
    if (step + 1 < FakeQuantizer::kSteps) {
      EXPECT_EQ(seen.state(), v1::QUANTIZATION_STATE_RUNNING);
      EXPECT_FALSE(seen.has_end_time());
      EXPECT_FALSE(seen.has_report());
    }
  }
  Last(reader);
  const v1::Quantization end = WaitForEnd(created.id());
  EXPECT_EQ(end.state(), v1::QUANTIZATION_STATE_SUCCEEDED);
  EXPECT_EQ(end.fraction(), 1);
  EXPECT_EQ(end.error(), "");
  EXPECT_TRUE(end.has_end_time());
  EXPECT_EQ(end.report().percentile(), 0.9999);
  ASSERT_EQ(end.report().trials_size(), 2);
  EXPECT_EQ(end.report().trials(0).percentile(), 0.9995);
  EXPECT_EQ(end.report().trials(0).nll(), 2.5);
  EXPECT_EQ(end.report().calibration_tokens(), 1234);
  EXPECT_EQ(end.report().calibration_digest(), "fnv1a64:0123");
  EXPECT_EQ(end.report().float_bytes(), 4000);
  EXPECT_EQ(end.report().quantized_bytes(), 1001);
  EXPECT_EQ(Get(created.id()).SerializeAsString(), end.SerializeAsString());
}

TEST_F(QuantizationServiceTest, AWatchFromTheMiddleBeginsWithHowItStands) {
  quantizer_.steps.Close();
  const std::string id = Start("out");
  quantizer_.steps.Permit(2);
  quantizer_.steps.WaitForArrivals(3);
  grpc::ClientContext context;
  const Reader reader = Watch(context, id);
  const v1::Quantization first = Next(reader);
  EXPECT_EQ(first.state(), v1::QUANTIZATION_STATE_RUNNING);
  EXPECT_EQ(first.stage(), "step 1");
  EXPECT_EQ(first.fraction(), 0.25);
  quantizer_.steps.Open();
  EXPECT_EQ(Last(reader).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
}

TEST_F(QuantizationServiceTest, AWatchOfWhatHasEndedIsOneMessage) {
  const std::string id = Start("out");
  WaitForEnd(id);
  grpc::ClientContext context;
  const Reader reader = Watch(context, id);
  EXPECT_EQ(Next(reader).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
  v1::WatchQuantizationResponse more;
  EXPECT_FALSE(reader->Read(&more));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(QuantizationServiceTest, OneRunsAtATimeInTheOrderOfArrival) {
  quantizer_.steps.Close();
  const std::vector<std::string> ids = {Start("a"), Start("b"), Start("c")};
  quantizer_.steps.WaitForArrivals(1);
  const v1::ListQuantizationsResponse list = Page(0, "");
  ASSERT_EQ(list.quantizations_size(), 3);
  EXPECT_EQ(list.quantizations(2).id(), ids[0]);
  EXPECT_EQ(list.quantizations(2).state(), v1::QUANTIZATION_STATE_RUNNING);
  EXPECT_EQ(list.quantizations(1).state(), v1::QUANTIZATION_STATE_QUEUED);
  EXPECT_EQ(list.quantizations(0).id(), ids[2]);
  EXPECT_THAT(server_->Metrics(), HasSubstr("\nwhipsnake_quantizations_running 1\n"));
  EXPECT_THAT(server_->Metrics(), HasSubstr("\nwhipsnake_quantizations_waiting 2\n"));
  quantizer_.steps.Open();
  for (const std::string& id : ids) {
    EXPECT_EQ(WaitForEnd(id).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
  }
  EXPECT_THAT(quantizer_.outputs(), ElementsAre("a", "b", "c"));
  EXPECT_THAT(server_->Metrics(),
              HasSubstr("\nwhipsnake_quantizations_total{result=\"succeeded\"} 3\n"));
  EXPECT_THAT(server_->Metrics(), HasSubstr("\nwhipsnake_quantizations_running 0\n"));
}

TEST_F(QuantizationServiceTest, TheQueueIsBounded) {
  quantizer_.steps.Close();
  Start("running");
  quantizer_.steps.WaitForArrivals(1);
  std::string id;
  for (int i = 0; i < QuantizationJobs::kMaxWaiting; ++i) id = Start("out" + std::to_string(i));
  const grpc::Status full = Quantize(RequestFor("more"));
  EXPECT_EQ(full.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(full), "TOO_MANY_QUANTIZATIONS");
  EXPECT_TRUE(HasRetry(full));
  ASSERT_TRUE(Cancel(id).ok());
  EXPECT_TRUE(Quantize(RequestFor("more")).ok());
}

TEST_F(QuantizationServiceTest, ACancelledOneThatWaitsNeverRuns) {
  quantizer_.steps.Close();
  const std::string running = Start("a");
  quantizer_.steps.WaitForArrivals(1);
  const std::string waiting = Start("b");
  grpc::ClientContext context;
  const Reader reader = Watch(context, waiting);
  EXPECT_EQ(Next(reader).state(), v1::QUANTIZATION_STATE_QUEUED);
  v1::Quantization cancelled;
  ASSERT_TRUE(Cancel(waiting, &cancelled).ok());
  EXPECT_EQ(cancelled.state(), v1::QUANTIZATION_STATE_CANCELLED);
  EXPECT_EQ(Last(reader).state(), v1::QUANTIZATION_STATE_CANCELLED);
  EXPECT_THAT(cancelled.error(), HasSubstr("by a client"));
  quantizer_.steps.Open();
  EXPECT_EQ(WaitForEnd(running).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
  WaitForEnd(Start("c"));
  EXPECT_THAT(quantizer_.outputs(), ElementsAre("a", "c"));
}

TEST_F(QuantizationServiceTest, ACancelledOneThatRunsEndsAtItsNextStep) {
  quantizer_.steps.Close();
  const std::string id = Start("out");
  quantizer_.steps.WaitForArrivals(1);
  v1::Quantization asked;
  ASSERT_TRUE(Cancel(id, &asked).ok());
  EXPECT_EQ(asked.state(), v1::QUANTIZATION_STATE_RUNNING);
  EXPECT_TRUE(Cancel(id).ok());
  quantizer_.steps.Permit(1);  // no more than this step is needed
  const v1::Quantization end = WaitForEnd(id);
  EXPECT_EQ(end.state(), v1::QUANTIZATION_STATE_CANCELLED);
  EXPECT_TRUE(end.has_end_time());
  EXPECT_FALSE(end.has_report());
  EXPECT_TRUE(Cancel(id).ok());  // what was asked for is the case
  EXPECT_THAT(server_->Metrics(),
              HasSubstr("\nwhipsnake_quantizations_total{result=\"cancelled\"} 1\n"));
}

TEST_F(QuantizationServiceTest, WhatIsFinishedCannotBeCancelled) {
  quantizer_.steps.Close();
  const std::string id = Start("out");
  quantizer_.steps.Permit(FakeQuantizer::kSteps - 1);
  quantizer_.steps.WaitForArrivals(FakeQuantizer::kSteps);
  EXPECT_TRUE(Cancel(id).ok());
  quantizer_.steps.Open();  // the last step says that the output is there
  EXPECT_EQ(WaitForEnd(id).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
  const grpc::Status late = Cancel(id);
  ASSERT_EQ(late.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(late), "QUANTIZATION_ENDED");
  EXPECT_EQ(DetailOf<google::rpc::PreconditionFailure>(late)->violations(0).subject(), id);
}

TEST_F(QuantizationServiceTest, AFailureIsShownAndTheNextOneRuns) {
  const v1::Quantization no_disk = WaitForEnd(Start("no-disk"));
  EXPECT_EQ(no_disk.state(), v1::QUANTIZATION_STATE_FAILED);
  EXPECT_THAT(no_disk.error(), HasSubstr("no space"));
  EXPECT_EQ(no_disk.stage(), "step 1");
  EXPECT_FALSE(no_disk.has_report());
  EXPECT_EQ(WaitForEnd(Start("no-memory")).state(), v1::QUANTIZATION_STATE_FAILED);
  // CANCELLED that nobody asked for is a failure.
  EXPECT_EQ(WaitForEnd(Start("confused")).state(), v1::QUANTIZATION_STATE_FAILED);
  EXPECT_EQ(WaitForEnd(Start("good")).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
  EXPECT_EQ(Cancel(no_disk.id()).error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_THAT(server_->Metrics(),
              HasSubstr("\nwhipsnake_quantizations_total{result=\"failed\"} 3\n"));
}

TEST_F(QuantizationServiceTest, AnUnknownIdIsNotFound) {
  for (const std::string id : {"", "q-nobody"}) {
    Get(id, grpc::NOT_FOUND);
    const grpc::Status cancelled = Cancel(id);
    ASSERT_EQ(cancelled.error_code(), grpc::NOT_FOUND);
    EXPECT_EQ(DetailOf<google::rpc::ResourceInfo>(cancelled)->resource_name(), id);
    grpc::ClientContext context;
    const Reader reader = Watch(context, id);
    v1::WatchQuantizationResponse response;
    EXPECT_FALSE(reader->Read(&response));
    EXPECT_EQ(reader->Finish().error_code(), grpc::NOT_FOUND);
  }
}

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
  EXPECT_EQ(code([](auto& request) { request.set_path("gpt2"); }), grpc::UNIMPLEMENTED);
  EXPECT_EQ(code([](auto& request) { request.set_path("nonsense"); }), grpc::DATA_LOSS);
  // No Hadamard matrix of order 36; a scheme without a rotation needs none.
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
  request.set_scheme("static-w8a8");
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

  ASSERT_EQ(quantizer_.requests.size(), 3u);
  const QuantizationRequest& plain = quantizer_.requests[0];
  EXPECT_EQ(plain.directory, fs::canonical(root_) / "one");
  EXPECT_EQ(plain.output_directory, fs::canonical(root_) / "plain");
  EXPECT_EQ(plain.options.recipe.scheme, engine::Scheme::kQuamba);
  EXPECT_EQ(plain.options.recipe.granularity, engine::Granularity::kChannel);
  EXPECT_EQ(plain.options.recipe.head_bits, 8);
  EXPECT_FALSE(plain.options.recipe.residual_rotation);
  EXPECT_FALSE(plain.options.percentile.has_value());
  EXPECT_EQ(plain.samples.max_samples, 512);
  EXPECT_EQ(plain.samples.max_tokens, 512);
  EXPECT_EQ(plain.calibration_text, "Some text.");  // one text is a whole file
  EXPECT_EQ(plain.calibration_file, "");
  const QuantizationRequest& all = quantizer_.requests[1];
  EXPECT_EQ(all.options.recipe.scheme, engine::Scheme::kStatic);
  EXPECT_EQ(all.options.recipe.granularity, engine::Granularity::kTensor);
  EXPECT_EQ(all.options.recipe.head_bits, 16);
  EXPECT_TRUE(all.options.recipe.residual_rotation);
  EXPECT_EQ(all.options.percentile, 0.75);
  EXPECT_EQ(all.samples.max_samples, 11);
  EXPECT_EQ(all.samples.max_tokens, 13);
  EXPECT_EQ(all.calibration_text,
            "{\"text\":\"Some text.\"}\n{\"text\":\"a \\\"second\\\"\\ntext\"}\n");
  EXPECT_EQ(quantizer_.requests[2].calibration_file, fs::canonical(root_) / "texts.txt");
  EXPECT_EQ(quantizer_.requests[2].calibration_text, "");
}

TEST_F(QuantizationServiceTest, TheLastHundredAreKeptAndPaged) {
  quantizer_.steps.Close();
  const std::string running = Start("running");
  quantizer_.steps.WaitForArrivals(1);
  std::vector<std::string> ids;
  for (int i = 0; i < QuantizationJobs::kMaxEnded + 3; ++i) {
    ids.push_back(Start("out"));
    ASSERT_TRUE(Cancel(ids.back()).ok());
  }
  for (int i = 0; i < 3; ++i) Get(ids[i], grpc::NOT_FOUND);
  std::vector<std::string> expected(ids.rbegin(), ids.rend() - 3);
  expected.push_back(running);  // it came first, but has not ended
  std::vector<std::string> listed;
  std::string token;
  do {
    const v1::ListQuantizationsResponse page = Page(30, token);
    EXPECT_LE(page.quantizations_size(), 30);
    for (const auto& quantization : page.quantizations()) listed.push_back(quantization.id());
    token = page.next_page_token();
  } while (!token.empty());
  EXPECT_EQ(listed, expected);
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), ids.size());

  grpc::Status status;
  Page(-1, "", &status);
  EXPECT_EQ(FieldOf(status), "page_size");
  Page(1001, "", &status);
  EXPECT_EQ(FieldOf(status), "page_size");
  for (const char* bad : {"x", "-1", "0", "99999999999999999999"}) {
    Page(1, bad, &status);
    EXPECT_EQ(FieldOf(status), "page_token") << bad;
  }
}

TEST_F(QuantizationServiceTest, AWatcherThatLeavesDisturbsNothing) {
  quantizer_.steps.Close();
  const std::string id = Start("out");
  {
    grpc::ClientContext context;
    const Reader reader = Watch(context, id);
    Next(reader);
    context.TryCancel();
    v1::WatchQuantizationResponse response;
    while (reader->Read(&response)) continue;
    EXPECT_EQ(reader->Finish().error_code(), grpc::CANCELLED);
  }
  grpc::ClientContext context;
  const Reader stays = Watch(context, id);
  quantizer_.steps.Open();
  EXPECT_EQ(Last(stays).state(), v1::QUANTIZATION_STATE_SUCCEEDED);
}

TEST_F(QuantizationServiceTest, ADrainCancelsAllAndRefusesMore) {
  quantizer_.steps.Close();
  const std::string running = Start("a");
  quantizer_.steps.WaitForArrivals(1);
  const std::string waiting = Start("b");
  grpc::ClientContext running_context, waiting_context;
  const Reader running_reader = Watch(running_context, running);
  const Reader waiting_reader = Watch(waiting_context, waiting);
  EXPECT_EQ(Next(running_reader).state(), v1::QUANTIZATION_STATE_RUNNING);
  EXPECT_EQ(Next(waiting_reader).state(), v1::QUANTIZATION_STATE_QUEUED);

  server_->daemon->RequestDrain();
  const v1::Quantization waited = Last(waiting_reader);
  EXPECT_EQ(waited.state(), v1::QUANTIZATION_STATE_CANCELLED);
  EXPECT_THAT(waited.error(), HasSubstr("shutting down"));
  const grpc::Status refused = Quantize(RequestFor("c"));
  EXPECT_EQ(refused.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(refused), "SERVER_DRAINING");
  EXPECT_TRUE(HasRetry(refused));

  quantizer_.steps.Permit(1);
  EXPECT_EQ(Last(running_reader).state(), v1::QUANTIZATION_STATE_CANCELLED);
  server_->daemon->Wait();
  EXPECT_THAT(quantizer_.outputs(), ElementsAre("a"));
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
