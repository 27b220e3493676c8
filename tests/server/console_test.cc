#include "server/console/console.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "server/console/console_assets.h"
#include "server/store/sqlite_store.h"
#include "server/work/disk_queue.h"
#include "tests/server/http_client.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

using nlohmann::json;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr char kHost[] = "Host: localhost\r\n";
constexpr char kOwnHeaders[] =
    "Host: localhost\r\nContent-Type: application/json\r\nX-Whipsnake-Console: 1\r\n";

std::string BodyOf(const std::string& response) {
  const size_t end = response.find("\r\n\r\n");
  return end == std::string::npos ? "" : response.substr(end + 4);
}

class ConsoleTest : public ::testing::Test {
 protected:
  ~ConsoleTest() override { engine_.steps.Open(); }

  void Start(const std::function<void(DaemonOptions&)>& change = [](DaemonOptions&) {}) {
    DaemonOptions options = FakeOptions(engine_);
    change(options);
    server_.emplace(std::move(options));
    address_ = server_->daemon->http_address();
  }
  std::string Get(const std::string& path, const std::string& headers = kHost) {
    return Exchange(address_, HttpHead("GET", path, headers));
  }
  json GetJson(const std::string& path) {
    const std::string response = Get(path);
    EXPECT_THAT(response, StartsWith("HTTP/1.1 200")) << path;
    EXPECT_THAT(response, HasSubstr("Content-Type: application/json\r\n"));
    EXPECT_THAT(response, HasSubstr("Cache-Control: no-store\r\n"));
    return json::parse(BodyOf(response));
  }
  static std::string PromptRequest(const std::string& body,
                                   const std::string& headers = kOwnHeaders) {
    return HttpHead("POST", "/console/api/generate",
                    headers + "Content-Length: " + std::to_string(body.size()) + "\r\n") +
           body;
  }
  std::string Post(const std::string& body, const std::string& headers = kOwnHeaders) {
    return Exchange(address_, PromptRequest(body, headers));
  }
  // Waits until a line of the metrics is there.
  void WaitForMetric(const std::string& line) {
    while (server_->Metrics().find(line) == std::string::npos) {
    }
  }

  FakeEngine engine_;
  std::optional<TestServer> server_;
  std::string address_;
};

TEST_F(ConsoleTest, ServesItsFilesWithStrictHeaders) {
  Start();
  for (const ConsoleAsset& asset : ConsoleAssets()) {
    const std::string path =
        asset.name == "index.html" ? "/console" : "/console/" + std::string(asset.name);
    const std::string response = Get(path);
    EXPECT_THAT(response, StartsWith("HTTP/1.1 200")) << path;
    EXPECT_EQ(BodyOf(response), asset.contents);
    for (const std::string& header :
         {"Content-Type: " + std::string(asset.content_type),
          std::string("Content-Security-Policy: default-src 'self';"),
          std::string("X-Content-Type-Options: nosniff"), std::string("X-Frame-Options: DENY"),
          std::string("Cache-Control: no-cache"), "ETag: \"" + std::string(asset.digest) + "\""}) {
      EXPECT_THAT(response, HasSubstr(header)) << path;
    }
    const std::string again =
        Get(path, std::string(kHost) + "If-None-Match: \"" + std::string(asset.digest) + "\"\r\n");
    EXPECT_THAT(again, StartsWith("HTTP/1.1 304")) << path;
    EXPECT_EQ(BodyOf(again), "");
    EXPECT_THAT(Get(path, "Host: evil.example\r\n"), StartsWith("HTTP/1.1 403")) << path;
    EXPECT_THAT(asset.contents, Not(HasSubstr("innerHTML"))) << path;
  }
  EXPECT_THAT(Get("/console/"), HasSubstr("Location: ../console"));
  EXPECT_THAT(Get("/"), HasSubstr("/console"));
}

TEST_F(ConsoleTest, IsOnByItselfOnlyWhereOtherMachinesCannotReachIt) {
  const auto code = [&](std::optional<bool> console, const std::string& http) {
    Start([&](DaemonOptions& options) {
      options.console = console;
      options.http = http;
      options.insecure_listen = true;
    });
    const std::string port = address_.substr(address_.rfind(':'));
    return Exchange("127.0.0.1" + port, HttpHead("GET", "/console", kHost)).substr(9, 3);
  };
  EXPECT_EQ(code(std::nullopt, "127.0.0.1:0"), "200");
  EXPECT_EQ(code(std::nullopt, "0.0.0.0:0"), "404");
  EXPECT_EQ(code(false, "127.0.0.1:0"), "404");
  EXPECT_EQ(code(true, "0.0.0.0:0"), "200");
}

TEST_F(ConsoleTest, EveryPathChecksTheHostAndTheOrigin) {
  Start();
  for (const char* path :
       {"/console/api/overview", "/console/api/models", "/console/api/jobs",
        "/console/api/job?kind=fine-tuning&id=a", "/console/api/history?kind=fine-tuning&id=a"}) {
    EXPECT_THAT(Get(path, "Host: evil.example\r\n"), StartsWith("HTTP/1.1 403")) << path;
    EXPECT_THAT(Get(path, std::string(kHost) + "Sec-Fetch-Site: cross-site\r\n"),
                StartsWith("HTTP/1.1 403"))
        << path;
  }
  const std::string body = R"({"text": "a", "max_new_tokens": 1})";
  EXPECT_THAT(Post(body), StartsWith("HTTP/1.1 200"));
  const std::string own = kOwnHeaders;
  EXPECT_THAT(Post(body, own + "Origin: http://evil.example\r\n"), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(Post(body, own + "Sec-Fetch-Site: cross-site\r\n"), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(Post(body, "Host: localhost\r\nContent-Type: application/json\r\n"),
              StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(Post(body, "Host: localhost\r\nX-Whipsnake-Console: 1\r\n"),
              StartsWith("HTTP/1.1 403"));
  // The preflight request of a browser, before another origin's page may send the header.
  EXPECT_THAT(Exchange(address_, HttpHead("OPTIONS", "/console/api/generate", kOwnHeaders)),
              StartsWith("HTTP/1.1 405"));
}

TEST_F(ConsoleTest, TellsOfTheServerAndItsModels) {
  Start([](DaemonOptions& options) {
    options.models.push_back({"bad", "/broken"});
    options.allow_missing = true;
  });
  const json overview = GetJson("/console/api/overview");
  EXPECT_EQ(overview.at("draining"), false);
  EXPECT_EQ(overview.at("not_ready"), "model bad is failed");
  EXPECT_EQ(overview.at("fine_tuning"), false);
  EXPECT_GT(overview.at("memory").at("limit"), 0);
  EXPECT_TRUE(overview.at("memory").at("purposes").contains("weights"));
  const json models = GetJson("/console/api/models").at("models");
  ASSERT_EQ(models.size(), 2);
  EXPECT_EQ(models[0].at("name"), "alphabet");
  EXPECT_EQ(models[0].at("state"), "ready");
  EXPECT_EQ(models[0].at("serves"), true);
  EXPECT_EQ(models[0].at("bytes"), 1000);
  EXPECT_EQ(models[0].at("running"), 0);
  EXPECT_EQ(models[0].at("waiting"), 0);
  EXPECT_EQ(models[1].at("name"), "bad");
  EXPECT_EQ(models[1].at("state"), "failed");
  EXPECT_THAT(models[1].at("error"), HasSubstr("truncated"));
  EXPECT_FALSE(models[1].contains("running"));
  EXPECT_EQ(GetJson("/console/api/jobs"), json({{"jobs", json::array()}}));
  EXPECT_THAT(Get("/console/api/job?kind=fine-tuning&id=a"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Get("/console/api/history?kind=fine-tuning&id=a&width=-1"),
              StartsWith("HTTP/1.1 400"));
}

TEST_F(ConsoleTest, APromptIsStreamedAsLines) {
  Start();
  const std::string response = Post(R"({"text": "a", "max_new_tokens": 3, "temperature": 0})");
  EXPECT_THAT(response, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(response, HasSubstr("Content-Type: application/x-ndjson"));
  EXPECT_THAT(response, HasSubstr(R"("model":"alphabet","prompt_tokens":1)"));
  for (const char* text : {"b", "c", "d"}) EXPECT_THAT(response, HasSubstr(text));
  EXPECT_THAT(response, HasSubstr(R"("reason":"length")"));
  EXPECT_THAT(response, EndsWith("\r\n0\r\n\r\n"));
}

TEST_F(ConsoleTest, OutputIsSentWhileTheRestIsMade) {
  Start();
  engine_.steps.Close();
  HttpConnection client(address_);
  ASSERT_TRUE(
      client.Send(PromptRequest(R"({"text": "a", "max_new_tokens": 2, "temperature": 0})")));
  engine_.steps.Permit(1);
  EXPECT_THAT(client.ReadUntil(R"({"text":"b"})"), Not(HasSubstr("finished")));
  engine_.steps.Open();
  EXPECT_THAT(client.ReadAll(), HasSubstr("finished"));
}

TEST_F(ConsoleTest, ErrorsSayWhatIsWrong) {
  Start();
  EXPECT_THAT(Post("{"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Post("[]"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Post(R"({"text": 5})"), AllOf(StartsWith("HTTP/1.1 400"), HasSubstr("text")));
  EXPECT_THAT(Post(R"({"prompt": "a"})"), AllOf(StartsWith("HTTP/1.1 400"), HasSubstr("prompt")));
  EXPECT_THAT(Post(R"({"text": "a", "temperature": -1})"),
              AllOf(StartsWith("HTTP/1.1 400"), HasSubstr("temperature")));
  EXPECT_THAT(Post(R"({"text": "a", "model": "absent"})"),
              AllOf(HasSubstr(R"("error")"), HasSubstr("absent"), HasSubstr("alphabet")));
  EXPECT_THAT(Post(json({{"text", std::string(Console::kMaxPromptBytes, 'a')}}).dump()),
              StartsWith("HTTP/1.1 413"));
}

TEST_F(ConsoleTest, AFifthPromptIsRefusedUntilOneHasEnded) {
  Start();
  engine_.steps.Close();
  const std::string body = R"({"text": "a", "max_new_tokens": 2, "temperature": 0})";
  std::vector<std::unique_ptr<HttpConnection>> clients;
  for (int i = 0; i < Console::kMaxPrompts; ++i) {
    clients.push_back(std::make_unique<HttpConnection>(address_));
    ASSERT_TRUE(clients.back()->Send(PromptRequest(body)));
    clients.back()->ReadUntil("HTTP/1.1 200");
  }
  const std::string refused = Post(body);
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 429"));
  EXPECT_THAT(refused, HasSubstr("TOO_MANY_PROMPTS"));
  engine_.steps.Open();
  for (const auto& client : clients) EXPECT_THAT(client->ReadAll(), HasSubstr("finished"));
  std::string response;
  do {  // a prompt has ended a little after its client has read the end
    response = Post(body);
  } while (response.starts_with("HTTP/1.1 429"));
  EXPECT_THAT(response, StartsWith("HTTP/1.1 200"));
}

TEST_F(ConsoleTest, APromptWhoseBrowserLeavesIsCancelled) {
  Start();
  engine_.steps.Close();
  HttpConnection client(address_);
  ASSERT_TRUE(client.Send(PromptRequest(R"({"text": "a", "max_new_tokens": 1000000000})")));
  engine_.steps.Permit(3);
  client.ReadUntil(R"("text")");
  client.Close();
  engine_.steps.Open();
  WaitForMetric("whipsnake_requests_finished_total{model=\"alphabet\",reason=\"cancelled\"} 1\n");
}

TEST_F(ConsoleTest, ADrainWaitsForPromptsAndRefusesNewOnes) {
  Start();
  engine_.steps.Close();
  HttpConnection client(address_);
  ASSERT_TRUE(client.Send(PromptRequest(R"({"text": "a", "max_new_tokens": 2})")));
  engine_.steps.WaitForArrivals(1);
  server_->daemon->RequestDrain(std::chrono::minutes(10));
  EXPECT_THAT(Post(R"({"text": "a"})"), StartsWith("HTTP/1.1 503"));
  EXPECT_EQ(GetJson("/console/api/overview").at("draining"), true);
  engine_.steps.Open();
  EXPECT_THAT(client.ReadAll(), HasSubstr("finished"));
  server_->daemon->Wait();
}

TEST_F(ConsoleTest, ADrainEndsPromptsThatTakeTooLong) {
  Start();
  HttpConnection client(address_);
  ASSERT_TRUE(client.Send(PromptRequest(R"({"text": "a", "max_new_tokens": 1000000000})")));
  client.ReadUntil(R"("text")");
  server_->daemon->RequestDrain(std::chrono::milliseconds(0));
  server_->daemon->Wait();
  EXPECT_THAT(client.ReadAll(), Not(HasSubstr("finished")));
}

// The routes, called directly, with a queue whose jobs a test writes.
class ConsoleJobsTest : public ::testing::Test {
 protected:
  static constexpr char kKind[] = "fake";

  // Takes `steps` steps at once.
  class StepKind final : public JobKind {
   public:
    std::string_view name() const override { return kKind; }
    std::string_view id_prefix() const override { return "fake"; }
    bool IsValid(const json& request) const override { return request.contains("steps"); }
    absl::Status Prepare(const Job&, JobRun&, Preparation& preparation) override {
      preparation.details = {{"plan", {{"steps", 3}}}, {"model_directory", "/secret"}};
      return absl::OkStatus();
    }
    absl::StatusOr<json> Run(const Job& job, JobRun& run) override {
      const int64_t steps = job.request.at("steps");
      for (int64_t step = 1; step <= steps; ++step) {
        run.AddEvent(EventLevel::kInfo, "step", {{"step", step}, {"loss", 1.0}, {"active", "1,2"}});
      }
      run.Report({.stage = "Training", .fraction = 1, .values = {{"step", steps}}});
      return json{{"steps", steps}};
    }
    void RemoveFiles(const std::string&) override {}
    void Sweep(const std::set<std::string>&) override {}
  };

  class Ended final : public JobWatcher {
   public:
    void OnJobChanged() override {
      std::lock_guard lock(mutex_);
      ++changes_;
      changed_.notify_all();
    }
    void WaitFor(const JobQueue& jobs, const std::string& id) {
      std::unique_lock lock(mutex_);
      while (!HasEnded(jobs.Get(kKind, id)->state)) {
        const int seen = changes_;
        changed_.wait(lock, [&] { return changes_ > seen; });
      }
    }

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    int changes_ = 0;
  };

  void Open() {
    std::vector<std::unique_ptr<JobKind>> kinds;
    kinds.push_back(std::make_unique<StepKind>());
    jobs_ = *JobQueue::Open(store_.get(), &ledger_, std::move(kinds), nullptr,
                            {.flush_interval = std::chrono::milliseconds(5)});
    jobs_->Start();
    console_.emplace(*ListenAddress::Parse("127.0.0.1:1", "address"),
                     ConsoleOptions{.clock = [this] { return now_; }},
                     ConsoleSources{.models = &models_,
                                    .jobs = jobs_.get(),
                                    .ledger = &ledger_,
                                    .active_calls = &active_calls_},
                     &disk_, nullptr);
    console_->AddRoutes(routes_);
  }
  void RunJob(const std::string& id, int64_t steps) {
    ASSERT_TRUE(jobs_->Create({.kind = kKind, .id = id, .request = {{"steps", steps}}}).ok());
    const auto ended = std::make_shared<Ended>();
    ASSERT_TRUE(jobs_->Watch(kKind, id, ended).ok());
    ended->WaitFor(*jobs_, id);
  }
  json Get(const std::string& path, HttpRequest::Values query = {}) {
    json reply;
    routes_.at(path).handler(
        {.method = "GET",
         .path = path,
         .headers = {{"host", "localhost"}},
         .query = std::move(query)},
        [&](const HttpResponse& response) { reply = json::parse(response.body); });
    disk_.Flush();  // an answer may come from there
    return reply;
  }

  std::chrono::steady_clock::time_point now_;
  std::unique_ptr<SqliteStore> store_ = *SqliteStore::Open(":memory:");
  engine::Ledger ledger_{1000};
  Metrics metrics_;
  ModelRegistry models_{nullptr, metrics_, nullptr};
  ActiveCalls active_calls_;
  std::unique_ptr<JobQueue> jobs_;
  DiskQueue disk_{[] {}, std::chrono::hours(1), "test"};
  std::optional<Console> console_;
  HttpRoutes routes_;
};

TEST_F(ConsoleJobsTest, AListIsMadeOnceASecond) {
  Open();
  EXPECT_EQ(Get("/console/api/jobs").at("jobs").size(), 0);
  RunJob("a", 3);
  EXPECT_EQ(Get("/console/api/jobs").at("jobs").size(), 0);
  now_ += std::chrono::milliseconds(1000);
  const json jobs = Get("/console/api/jobs").at("jobs");
  ASSERT_EQ(jobs.size(), 1);
  EXPECT_EQ(jobs[0].at("id"), "a");
  EXPECT_EQ(jobs[0].at("state"), "succeeded");
  EXPECT_EQ(jobs[0].at("progress").at("step"), 3);
}

TEST_F(ConsoleJobsTest, AJobIsShownWithoutPathsOfTheServer) {
  Open();
  RunJob("a", 3);
  const json job = Get("/console/api/job", {{"kind", kKind}, {"id", "a"}});
  EXPECT_EQ(job.at("plan").at("steps"), 3);
  EXPECT_EQ(job.at("result").at("steps"), 3);
  EXPECT_THAT(job.dump(), Not(HasSubstr("/secret")));
}

TEST_F(ConsoleJobsTest, AHistoryComesFromTheDiskInPartsAndThenFromMemory) {
  Open();
  constexpr int64_t kSteps = 5000;
  RunJob("a", kSteps);
  HttpRequest::Values query = {{"kind", kKind}, {"id", "a"}};
  json history;
  int parts = 0;
  do {
    history = Get("/console/api/history", query);
    ++parts;
  } while (history.at("more"));
  EXPECT_GT(parts, 1);
  EXPECT_EQ(history.at("columns").at("step").back(), kSteps);
  EXPECT_EQ(history.at("layers"), 3);
  EXPECT_EQ(history.at("columns").at("active")[0], "066");
  EXPECT_EQ(history.at("events").back().at("state"), "succeeded");
  query["uid"] = history.at("uid");
  query["width"] = history.at("width").dump();
  query["column"] = std::to_string(history.at("columns").at("step").size() - 1);
  query["event"] = history.at("last_event").dump();
  const json rest = Get("/console/api/history", query);
  EXPECT_EQ(rest.at("columns").at("step").size(), 1);
  EXPECT_EQ(rest.at("events").size(), 0);
  query["uid"] = "of a job before";
  EXPECT_EQ(Get("/console/api/history", query).at("columns"), history.at("columns"));
  EXPECT_EQ(Get("/console/api/history", {{"kind", kKind}, {"id", "b"}}).at("error").at("reason"),
            "JOB_NOT_FOUND");
}

}  // namespace
}  // namespace whipsnake::server
