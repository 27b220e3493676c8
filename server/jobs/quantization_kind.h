// Quantization as a kind of job.
#ifndef WHIPSNAKE_SERVER_JOBS_QUANTIZATION_KIND_H_
#define WHIPSNAKE_SERVER_JOBS_QUANTIZATION_KIND_H_

#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "server/jobs/job_kind.h"
#include "server/registry/quantizer.h"

namespace whipsnake::server {

inline constexpr std::string_view kQuantization = "quantization";

// A job's request has the fields of QuantizeModelRequest and `resolved`: the scheme and the real
// paths when it was made. Its result is a QuantizationReport. A crash begins it anew.
class QuantizationKind final : public JobKind {
 public:
  static constexpr int kMaxWaiting = 16;
  static constexpr int kMaxEnded = 100;

  QuantizationKind(Quantizer quantizer, std::string model_root)
      : quantizer_(std::move(quantizer)), model_root_(std::move(model_root)) {}

  // The request of a job that quantizes, from a message that has been parsed before.
  static nlohmann::json MakeRequest(nlohmann::json message, const QuantizationRequest& parsed);

  std::string_view name() const override { return kQuantization; }
  std::string_view id_prefix() const override { return "q"; }
  int max_running() const override { return 1; }
  int max_waiting() const override { return kMaxWaiting; }
  int max_ended() const override { return kMaxEnded; }
  bool IsTemporary(const absl::Status& error) const override {
    return absl::IsUnavailable(error);  // a crash of the server
  }

  bool IsValid(const nlohmann::json& request) const override;
  absl::Status Prepare(const Job& job, JobRun& run, Preparation& preparation) override;
  absl::StatusOr<nlohmann::json> Run(const Job& job, JobRun& run) override;
  void TrimRequest(nlohmann::json& request) const override;
  void RemoveFiles(const std::string&) override {}
  void Sweep(const std::set<std::string>&) override {}

 private:
  const Quantizer quantizer_;
  const std::string model_root_;
};

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_JOBS_QUANTIZATION_KIND_H_
