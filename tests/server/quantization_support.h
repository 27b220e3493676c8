// A model service with a fake quantizer.
#ifndef WHIPSNAKE_TESTS_SERVER_QUANTIZATION_SUPPORT_H_
#define WHIPSNAKE_TESTS_SERVER_QUANTIZATION_SUPPORT_H_

#include <filesystem>
#include <fstream>
#include <new>
#include <set>

#include "engine/base/status.h"
#include "server/registry/quantization_request.h"
#include "tests/server/support.h"

namespace whipsnake::server {

inline constexpr char kConfig[] = R"({"model_type": "mamba", "vocab_size": 300, "hidden_size": 16,
    "num_hidden_layers": 1, "state_size": 4, "intermediate_size": 32})";

// Reports five steps, each when the gate lets it through; the last one is the end. The name of the
// output chooses the outcome.
struct FakeQuantizer {
  static constexpr int kSteps = 5;
  Gate steps;

  absl::StatusOr<engine::QuantizationReport> operator()(const QuantizationRequest& request,
                                                        const engine::WorkProgress& progress) {
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

  // Returns the requests so far.
  std::vector<QuantizationRequest> seen() {
    std::lock_guard lock(mutex);
    return requests;
  }
  std::vector<std::string> outputs() {
    std::vector<std::string> outputs;
    for (const auto& request : seen()) outputs.push_back(request.output_path);
    return outputs;
  }

  std::mutex mutex;
  std::vector<QuantizationRequest> requests;  // guarded by `mutex`
};

class QuantizationServiceTest : public testing::Test {
 protected:
  using Reader = std::unique_ptr<grpc::ClientReader<v1::WatchQuantizationResponse>>;

  void SetUp() override {
    root_ = std::filesystem::path(testing::TempDir()) /
            ("whipsnake-quantize-" + std::to_string(getpid()));
    for (const char* name : {"one", "empty", "t5", "nonsense", "odd", "done"}) {
      std::filesystem::create_directories(root_ / name);
    }
    std::ofstream(root_ / "one" / "config.json") << kConfig;
    std::ofstream(root_ / "t5" / "config.json") << R"({"model_type": "t5"})";
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
    options.end_timeout = end_timeout_;
    server_.emplace(std::move(options));
  }
  void TearDown() override {
    quantizer_.steps.Open();
    server_.reset();
    std::filesystem::remove_all(root_);
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

  // Starts a quantization, which must be accepted, and returns its id.
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

  // Reads a stream, which must end with OK, and returns its last message.
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

  std::chrono::milliseconds end_timeout_{30'000};  // of the server
  FakeEngine engine_;
  FakeQuantizer quantizer_;
  std::filesystem::path root_;
  std::optional<TestServer> server_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_TESTS_SERVER_QUANTIZATION_SUPPORT_H_
