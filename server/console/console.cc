#include "server/console/console.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/access/token.h"
#include "server/console/console_assets.h"
#include "server/console/prompt_stream.h"
#include "server/errors.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;

constexpr char kPage[] = "index.html";
constexpr std::chrono::seconds kCacheTime{1};

// Nothing of another origin is loaded, nothing inline runs, and no page may frame this one.
constexpr char kPolicy[] =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// The headers of every response of the console.
HttpResponse Secured(HttpResponse response) {
  for (const auto& header : std::initializer_list<std::pair<const char*, const char*>>{
           {"Content-Security-Policy", kPolicy},
           {"Cross-Origin-Resource-Policy", "same-origin"},
           {"Referrer-Policy", "no-referrer"},
           {"X-Frame-Options", "DENY"}}) {
    response.headers.emplace_back(header.first, header.second);
  }
  return response;
}

HttpResponse JsonResponse(int code, std::string body) {
  HttpResponse response = Secured({.code = code, .body = std::move(body) + "\n"});
  response.content_type = "application/json";
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

std::string Dump(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

int CodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return 400;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kUnavailable:
      return 503;
    default:
      return 500;
  }
}

HttpResponse ErrorResponse(const absl::Status& status) {
  return JsonResponse(CodeOf(status), Dump(ErrorJson(status)));
}

HttpResponse ToResponse(const absl::StatusOr<json>& object) {
  return object.ok() ? JsonResponse(200, Dump(*object)) : ErrorResponse(object.status());
}

// An argument that is a number of at least 0, or absent.
absl::Status ReadArgument(const HttpRequest& request, std::string_view name, int64_t& value) {
  const std::string_view text = request.Argument(name);
  if (text.empty() || (absl::SimpleAtoi(engine::ToAbsl(text), &value) && value >= 0)) {
    return absl::OkStatus();
  }
  return engine::InvalidField(name, text, "a number of at least 0");
}

absl::StatusOr<HistoryMark> ReadMark(const HttpRequest& request) {
  HistoryMark mark{.uid = std::string(request.Argument("uid"))};
  RETURN_IF_ERROR(ReadArgument(request, "width", mark.width));
  RETURN_IF_ERROR(ReadArgument(request, "column", mark.column));
  RETURN_IF_ERROR(ReadArgument(request, "event", mark.event));
  return mark;
}

}  // namespace

Console::Console(const ListenAddress& address, ConsoleOptions options, ConsoleSources sources,
                 DiskQueue* disk, std::shared_ptr<v1::GenerationService::Stub> generation)
    : guard_(address, options.hosts),
      options_(std::move(options)),
      sources_(std::move(sources)),
      histories_(sources_.jobs, disk),
      generation_(std::move(generation)) {}

void Console::AddRoutes(HttpRoutes& routes) {
  routes["/console/"] = GetRoute(Scope::kOpen, [](const HttpRequest&) {
    return HttpResponse{.code = 308, .headers = {{"Location", "../console"}}};
  });
  for (const ConsoleAsset& asset : ConsoleAssets()) {
    const std::string path =
        asset.name == kPage ? "/console" : absl::StrCat("/console/", engine::ToAbsl(asset.name));
    routes[path] = GetRoute(
        Scope::kOpen, [this, &asset](const HttpRequest& request) { return Page(asset, request); });
  }
  routes["/console/api/overview"] = CachedRoute(&OverviewJson);
  routes["/console/api/models"] = CachedRoute(&ModelsJson);
  routes["/console/api/jobs"] = CachedRoute(&JobsJson);
  routes["/console/api/job"] =
      GetRoute(Scope::kAdmin, [this](const HttpRequest& request) { return GetJob(request); });
  routes["/console/api/history"] = {
      .handler = [this](const HttpRequest& request,
                        const HttpAnswer& answer) { GetHistory(request, answer); },
      .scope = Scope::kAdmin};
  routes["/console/api/generate"] = {
      .handler = [this](const HttpRequest& request,
                        const HttpAnswer& answer) { answer(Generate(request)); },
      .max_body = kMaxPromptBytes,
      .scope = Scope::kInfer};
}

HttpResponse Console::Page(const ConsoleAsset& asset, const HttpRequest& request) const {
  const absl::Status allowed = guard_.CheckHost(request);
  if (!allowed.ok()) return ErrorResponse(allowed);
  HttpResponse response = Secured({.content_type = std::string(asset.content_type)});
  // A browser asks each time whether its copy is that of this build.
  const std::string tag = absl::StrCat("\"", engine::ToAbsl(asset.digest), "\"");
  response.headers.emplace_back("Cache-Control", "no-cache");
  response.headers.emplace_back("ETag", tag);
  if (request.Header("if-none-match") == tag) {
    response.code = 304;
  } else {
    response.body = std::string(asset.contents);
  }
  return response;
}

HttpRoute Console::CachedRoute(json (*make)(const ConsoleSources&)) {
  return GetRoute(Scope::kAdmin,
                  [this, make, cached = std::make_shared<Cached>()](const HttpRequest& request) {
                    const absl::Status allowed = guard_.CheckRead(request);
                    if (!allowed.ok()) return ErrorResponse(allowed);
                    const auto now = options_.clock();
                    if (cached->body.empty() || now >= cached->until) {
                      cached->body = Dump(make(sources_));
                      cached->until = now + kCacheTime;
                    }
                    return JsonResponse(200, cached->body);
                  });
}

HttpResponse Console::GetJob(const HttpRequest& request) const {
  const auto get = [&]() -> absl::StatusOr<json> {
    RETURN_IF_ERROR(guard_.CheckRead(request));
    ASSIGN_OR_RETURN(const Job job,
                     sources_.jobs->Get(request.Argument("kind"), request.Argument("id")));
    return JobJson(sources_, job);
  };
  return ToResponse(get());
}

void Console::GetHistory(const HttpRequest& request, const HttpAnswer& answer) {
  const absl::Status allowed = guard_.CheckRead(request);
  if (!allowed.ok()) return answer(ErrorResponse(allowed));
  const absl::StatusOr<HistoryMark> mark = ReadMark(request);
  if (!mark.ok()) return answer(ErrorResponse(mark.status()));
  histories_.Get(std::string(request.Argument("kind")), std::string(request.Argument("id")), *mark,
                 [answer](const absl::StatusOr<json>& history) { answer(ToResponse(history)); });
}

HttpResponse Console::Generate(const HttpRequest& request) {
  const absl::Status allowed = guard_.CheckAction(request);
  if (!allowed.ok()) return ErrorResponse(allowed);
  if (sources_.active_calls->closed()) return ErrorResponse(DrainingError());
  absl::StatusOr<v1::StreamGenerateRequest> prompt = ParsePrompt(request.body);
  if (!prompt.ok()) return ErrorResponse(prompt.status());
  if (*prompts_ >= kMaxPrompts) {
    return ErrorResponse(WithReason(absl::ResourceExhaustedError(absl::StrCat(
                                        "too many prompts of consoles are in progress (limit ",
                                        kMaxPrompts, "); stop one, or wait until one has ended")),
                                    "TOO_MANY_PROMPTS"));
  }
  ++*prompts_;
  HttpResponse response = JsonResponse(200, "");
  response.content_type = "application/x-ndjson";
  // The call is made with the token of whoever asks, so it is admitted, and logged, as theirs.
  const auto token = BearerToken(request.Header("authorization"));
  response.stream = std::make_shared<PromptStream>(generation_, *std::move(prompt),
                                                   std::string(token.value_or("")),
                                                   [prompts = prompts_] { --*prompts; });
  return response;
}

}  // namespace whipsnake::server
