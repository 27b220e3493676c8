#include "server/console/console_api.h"

#include <string>
#include <string_view>
#include <utility>

#include "engine/base/scheme.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "kernels/cpu/isa.h"
#include "server/errors.h"
#include "server/jobs/quantization_kind.h"
#include "server/version.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

double Seconds(WallTime time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

// Adds the part of `object` with that name, if there is one.
void CopyPart(const json& object, const char* key, json& to) {
  const auto part = object.find(key);
  if (part != object.end()) to[key] = *part;
}

std::string ModelOf(const Job& job) {
  if (job.kind == kQuantization) return job.request.value("path", "");
  const auto spec = job.request.find("spec");
  return spec == job.request.end() ? "" : spec->value("model", "");
}

json ModelJson(const ModelSnapshot& model) {
  json object = {{"name", model.source.name},  {"version", model.version},
                 {"serves", model.serves},     {"aliases", model.aliases},
                 {"state", Name(model.state)}, {"source_job", model.source.source_job}};
  if (!model.error.ok()) {
    object["error"] = engine::BoundedUtf8(engine::ClientMessage(model.error), kMaxMessageBytes);
  }
  if (model.info) {
    object["architecture"] = model.info->architecture;
    object["scheme"] = engine::Name(model.info->scheme);
    object["parameters"] = model.info->parameters;
    object["bytes"] = model.info->weights_bytes;
  }
  if (model.load) {
    object["running"] = model.load->running;
    object["waiting"] = model.load->waiting;
    object["generated_tokens"] = model.generated_tokens;
  }
  return object;
}

}  // namespace

json OverviewJson(const ConsoleSources& sources) {
  json purposes = json::object();
  for (int i = 0; i < engine::kPurposeCount; ++i) {
    const auto purpose = static_cast<engine::Purpose>(i);
    purposes[std::string(engine::Name(purpose))] = sources.ledger->used(purpose);
  }
  const auto uptime = std::chrono::system_clock::now() - sources.start_time;
  return {{"version", Version()},
          {"commit", Commit()},
          {"uptime_seconds", std::chrono::duration<double>(uptime).count()},
          {"draining", sources.active_calls->closed()},
          {"not_ready", sources.models->NotReadyReason()},
          {"threads", sources.threads},
          {"isa", kernels::Name(kernels::ActiveIsa())},
          {"fine_tuning", sources.fine_tuning},
          {"memory",
           {{"used", sources.ledger->used()},
            {"limit", sources.ledger->limit()},
            {"purposes", std::move(purposes)}}}};
}

json ModelsJson(const ConsoleSources& sources) {
  json models = json::array();
  for (const ModelSnapshot& model : sources.models->List()) models.push_back(ModelJson(model));
  return {{"models", std::move(models)}};
}

json JobsJson(const ConsoleSources& sources) {
  json jobs = json::array();
  for (const Job& job : sources.jobs->Latest(kMaxListedJobs)) jobs.push_back(JobSummary(job));
  return {{"jobs", std::move(jobs)}};
}

json JobSummary(const Job& job) {
  json object = {{"kind", job.kind},
                 {"id", job.id},
                 {"uid", job.uid},
                 {"state", Name(job.state)},
                 {"reason", job.reason},
                 {"model", ModelOf(job)},
                 {"labels", job.labels},
                 {"priority", job.priority},
                 {"attempt", job.attempt},
                 {"stage", job.progress.stage},
                 {"fraction", job.progress.fraction},
                 {"progress", job.progress.values},
                 {"position", job.position},
                 {"waits_for", job.waits_for},
                 {"create_time", Seconds(job.create_time)}};
  if (job.error) {
    object["error"] = {{"reason", job.error->reason},
                       {"message", job.error->message},
                       {"field", job.error->field}};
  }
  if (job.start_time) object["start_time"] = Seconds(*job.start_time);
  if (job.end_time) object["end_time"] = Seconds(*job.end_time);
  if (job.next_attempt_time) object["next_attempt_time"] = Seconds(*job.next_attempt_time);
  return object;
}

json JobJson(const ConsoleSources& sources, const Job& job) {
  json object = JobSummary(job);
  if (job.kind == kQuantization) {
    for (const char* key : {"path", "output_path", "scheme"}) {
      CopyPart(job.request, key, object["request"]);
    }
  } else {
    for (const char* key : {"spec", "train", "eval"}) CopyPart(job.request, key, object["request"]);
  }
  for (const char* key : {"plan", "settings", "candidates"}) CopyPart(job.details, key, object);
  object["bytes"] = job.bytes;
  object["available_bytes"] = sources.jobs->available_bytes();
  if (job.state == JobState::kSucceeded) object["result"] = job.result;
  return object;
}

}  // namespace whipsnake::server
